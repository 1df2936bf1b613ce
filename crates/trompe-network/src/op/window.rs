//! Windows of a map, as convolutions and pools see it through.

use super::{LARGEST_MAP, values};
use crate::padding::Padding;

/// Refuses pools of which some windows would see nothing but the margin.
pub fn seeing(kernel: [usize; 2], padding: Padding, dilation: [usize; 2]) -> Result<(), String> {
    if let Padding::Same(_) = padding {
        return Ok(());
    }
    let around = padding.around([0; 2], kernel, [1; 2], dilation);
    for d in 0..2 {
        let reach = dilation[d].saturating_mul(kernel[d].saturating_sub(1)).saturating_add(1);
        if around[d].0.max(around[d].1) >= reach {
            return Err(format!(
                "its padding {padding:?} is as wide as its kernel {kernel:?}: some windows see nothing"
            ));
        }
    }
    Ok(())
}

/// How many windows there are, by rows and columns.
pub fn windows(
    size: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: Padding,
    dilation: [usize; 2],
    ceil: bool,
) -> Result<[usize; 2], String> {
    let plausible = |n: usize| (1..=LARGEST_MAP).contains(&n);
    if !kernel.iter().chain(&stride).chain(&dilation).all(|&n| plausible(n)) {
        return Err(format!("its kernel {kernel:?}, stride {stride:?} or dilation {dilation:?} cannot be"));
    }
    let around = padding.around(size, kernel, stride, dilation);
    let padded = [0, 1].map(|d| size[d].saturating_add(around[d].0).saturating_add(around[d].1));
    if values([padded[0], padded[1], 1]).is_none() {
        return Err(format!("its padding {padding:?} is too large"));
    }
    let mut count = [0; 2];
    for d in 0..2 {
        let (before, padded) = (around[d].0, padded[d]);
        let reach = dilation[d].saturating_mul(kernel[d] - 1).saturating_add(1);
        if padded < reach {
            return Err(format!("its kernel {kernel:?} is larger than the map {size:?} with its padding"));
        }
        let steps = padded - reach;
        count[d] = 1 + if ceil { steps.div_ceil(stride[d]) } else { steps / stride[d] };
        // A window that begins beyond the map and the padding before it sees nothing.
        if ceil && (count[d] - 1) * stride[d] >= size[d] + before {
            count[d] -= 1;
        }
    }
    Ok(count)
}
