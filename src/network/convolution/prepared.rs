//! What the weights of convolutions are multiplied as, remembered for as long as the weights are in use.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, OnceLock, Weak};

use burn::tensor::Bytes;

use super::winograd::Factors;
use crate::flex::{Primitive, dims, values};

/// The factors of one convolution, made when they are first needed.
#[derive(Debug, Default)]
pub struct Prepared {
    pub forward: OnceLock<Factors>,
    pub backward: OnceLock<Factors>,
}

/// By the place of the weights in memory and their dimensions. A weak reference keeps that memory from being written to, and
/// tells when it is given back.
type Known = HashMap<(usize, [usize; 4]), (Weak<Bytes>, Arc<Prepared>)>;

static KNOWN: LazyLock<Mutex<Known>> = LazyLock::new(Mutex::default);

/// What is prepared for contiguous weights `[out, C, kh, kw]`.
pub fn prepared(weights: &Primitive) -> Arc<Prepared> {
    let mut known = KNOWN.lock().expect("nobody panics while holding it");
    let key = (values(weights).as_ptr().addr(), dims(weights));
    if let Some((weights, prepared)) = known.get(&key)
        && weights.strong_count() > 0
    {
        return prepared.clone();
    }
    known.retain(|_, (weights, _)| weights.strong_count() > 0);
    let prepared = Arc::<Prepared>::default();
    known.insert(key, (Arc::downgrade(&weights.data_arc()), prepared.clone()));
    prepared
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;
    use burn::backend::ops::FloatTensorOps;
    use burn::tensor::TensorData;

    use super::*;

    #[test]
    fn other_weights_are_not_taken_for_those_that_were_there() {
        let device = burn::backend::flex::FlexDevice;
        let mut weights = Flex::float_from_data(TensorData::new(vec![1f32; 64], [8, 8, 1, 1]), &device);
        let mut all = vec![prepared(&weights)];
        assert!(Arc::ptr_eq(&all[0], &prepared(&weights.clone())));
        for _ in 0..20 {
            // In the same memory, if that were allowed.
            weights = Flex::float_mul_scalar(weights, 2.0f32.into());
            let now = prepared(&weights);
            assert!(all.iter().all(|before| !Arc::ptr_eq(before, &now)));
            all.push(now);
        }
    }

    /// Another shape of the same memory is other weights.
    #[test]
    fn weights_are_told_by_their_shape_too() {
        let device = burn::backend::flex::FlexDevice;
        let weights = Flex::float_from_data(TensorData::new(vec![1f32; 64], [8, 8, 1, 1]), &device);
        let reshaped = Flex::float_reshape(weights.clone(), [4, 16, 1, 1].into());
        assert_eq!(values(&weights).as_ptr(), values(&reshaped).as_ptr());
        assert!(!Arc::ptr_eq(&prepared(&weights), &prepared(&reshaped)));
    }

    #[test]
    fn what_is_prepared_goes_with_the_weights() {
        let device = burn::backend::flex::FlexDevice;
        let weights = |n: usize| Flex::float_from_data(TensorData::new(vec![1f32; n], [n, 1, 1, 1]), &device);
        let gone = Arc::downgrade(&prepared(&weights(100)));
        let _next = prepared(&weights(200));
        assert!(gone.upgrade().is_none());
    }
}
