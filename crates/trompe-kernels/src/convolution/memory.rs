//! Memory of a thread that one convolution after another uses.

use std::cell::Cell;
use std::thread::LocalKey;

pub type Memory = Cell<Vec<f32>>;

pub const fn empty() -> Memory {
    Cell::new(vec![])
}

/// Calls `f` with memory for `n` values, whatever they are.
pub fn with<R>(all: &'static LocalKey<Memory>, n: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    // Taken, not borrowed: while this thread waits for others, rayon may give it another convolution.
    let mut memory = all.take();
    if memory.len() < n {
        memory.resize(n, 0.0);
    }
    let result = f(&mut memory[..n]);
    all.set(memory);
    result
}
