//! How far work has come. The library tells whoever observes it, and prints nothing itself.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Who is told of the work that goes on.
pub trait Observer: Send + Sync {
    /// Work of `total` pieces begins.
    fn begin(&self, what: &str, total: usize) -> Box<dyn Task>;
}

/// A piece of work, as its observer sees it. Several threads may tell of it.
pub trait Task: Send + Sync {
    /// So many pieces are done, of all.
    fn reached(&self, done: u64);

    /// What the work is called from now on.
    fn renamed(&self, what: &str);

    /// It is over, whether or not all pieces are done.
    fn ended(&self);
}

static OBSERVER: OnceLock<Box<dyn Observer>> = OnceLock::new();

/// Names the process's observer. Only the first one that is named is told anything.
pub fn observe(observer: impl Observer + 'static) {
    let _ = OBSERVER.set(Box::new(observer));
}

/// The progress of a piece of work.
pub struct Progress {
    task: Option<Box<dyn Task>>,
    done: AtomicU64,
    over: AtomicBool,
}

/// Work of `total` pieces begins, and whoever observes is told.
pub fn bar(what: &str, total: usize) -> Progress {
    Progress::of(OBSERVER.get().map(|o| o.begin(what, total)))
}

impl Progress {
    /// Work of which nobody is told.
    pub fn hidden() -> Self {
        Self::of(None)
    }

    fn of(task: Option<Box<dyn Task>>) -> Self {
        Self { task, done: AtomicU64::new(0), over: AtomicBool::new(false) }
    }

    /// So many pieces more are done.
    pub fn advance(&self, pieces: u64) {
        let done = self.done.fetch_add(pieces, Ordering::Relaxed) + pieces;
        if let Some(task) = &self.task {
            task.reached(done);
        }
    }

    /// How many pieces are done.
    pub fn position(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Calls the work something else.
    pub fn say(&self, what: String) {
        if let Some(task) = &self.task {
            task.renamed(&what);
        }
    }

    /// The work is over. What is dropped is over, too.
    pub fn end(&self) {
        if let Some(task) = &self.task
            && !self.over.swap(true, Ordering::Relaxed)
        {
            task.ended();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}
