//! Similarity of two activation vectors.

use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// How alike two vectors are, from -1 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// The Pearson correlation of ranks; equal values share their average rank.
    Spearman,
    /// The cosine of the vectors less their means.
    Pearson,
    /// The cosine of the angle between the vectors.
    Cosine,
}

impl Metric {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Spearman => "spearman",
            Self::Pearson => "pearson",
            Self::Cosine => "cosine",
        }
    }

    /// The unit vector whose inner products are this similarity; `None` where it is undefined: a constant vector
    /// has no correlation with anything, a zero vector no angle.
    fn normalize(self, values: &[f32]) -> Option<Vec<f32>> {
        let mut v: Vec<f64> = match self {
            Self::Spearman => average_ranks(values),
            _ => values.iter().map(|&x| f64::from(x)).collect(),
        };
        if self != Self::Cosine {
            // A constant is told by its values: rounding may leave its deviations from the mean not quite zero.
            if v.iter().all(|&x| x == v[0]) {
                return None;
            }
            let mean = v.iter().sum::<f64>() / v.len() as f64;
            v.iter_mut().for_each(|x| *x -= mean);
        }
        let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        (norm > 0.0 && norm.is_finite()).then(|| v.iter().map(|x| (x / norm) as f32).collect())
    }

    /// The similarity of two vectors of equal length; `None` where it is undefined.
    pub fn similarity(self, a: &[f32], b: &[f32]) -> Option<f64> {
        assert_eq!(a.len(), b.len(), "activations of one layer have one length");
        let (a, b) = (self.normalize(a)?, self.normalize(b)?);
        Some(a.iter().zip(&b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum())
    }

    /// The similarities of every pair of `rows`, where defined.
    pub fn matrix(self, rows: &[Vec<f32>], device: &Device) -> Similarities {
        let n = rows.len();
        let unit: Vec<Option<Vec<f32>>> = rows.par_iter().map(|row| self.normalize(row)).collect();
        let width = rows.first().map_or(0, Vec::len);
        let mut sums = vec![0f64; n * n];
        // Blocks of columns: one matrix product each, added up in double precision.
        const BLOCK: usize = 4096;
        for from in (0..width).step_by(BLOCK) {
            let to = (from + BLOCK).min(width);
            let block: Vec<f32> = unit
                .iter()
                .flat_map(|row| match row {
                    Some(row) => row[from..to].to_vec(),
                    None => vec![0.0; to - from],
                })
                .collect();
            let block: Tensor<2> = Tensor::from_data(TensorData::new(block, [n, to - from]), device);
            let product = block.clone().matmul(block.transpose());
            let values: Vec<f32> = product.into_data().try_to_vec().expect("products are 32-bit floats");
            sums.iter_mut().zip(values).for_each(|(sum, v)| *sum += f64::from(v));
        }
        Similarities { n, defined: unit.iter().map(Option::is_some).collect(), values: sums }
    }
}

/// The similarities of all pairs of a set of images.
pub struct Similarities {
    n: usize,
    defined: Vec<bool>,
    values: Vec<f64>,
}

impl Similarities {
    /// The similarity of images `i` and `j`, if both have one.
    pub fn get(&self, i: usize, j: usize) -> Option<f64> {
        (self.defined[i] && self.defined[j]).then(|| self.values[i * self.n + j])
    }
}

/// The rank of each value, from 1; equal values share the mean of their ranks.
fn average_ranks(values: &[f32]) -> Vec<f64> {
    let mut order: Vec<u32> = (0..values.len() as u32).collect();
    order.sort_unstable_by(|&a, &b| values[a as usize].total_cmp(&values[b as usize]));
    let mut ranks = vec![0.0; values.len()];
    let mut from = 0;
    while from < order.len() {
        let value = values[order[from] as usize];
        let mut to = from + 1;
        while to < order.len() && values[order[to] as usize] == value {
            to += 1;
        }
        let rank = (from + 1 + to) as f64 / 2.0;
        for &i in &order[from..to] {
            ranks[i as usize] = rank;
        }
        from = to;
    }
    ranks
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use statrs::statistics::{Data, OrderStatistics, RankTieBreaker};

    const ALL: [Metric; 3] = [Metric::Spearman, Metric::Pearson, Metric::Cosine];

    fn close(a: Option<f64>, b: f64) {
        let a = a.expect("defined");
        assert!((a - b).abs() < 1e-6, "{a} is not {b}");
    }

    /// Worked by hand: ranks 1, 2.5, 2.5, 4 against 2, 1, 3, 4.
    #[test]
    fn spearman_shares_ranks_among_ties() {
        assert_eq!(average_ranks(&[1.0, 5.0, 5.0, 9.0]), [1.0, 2.5, 2.5, 4.0]);
        let got = Metric::Spearman.similarity(&[1.0, 5.0, 5.0, 9.0], &[0.2, 0.1, 0.3, 0.4]);
        close(got, 3.0 / (4.5f64 * 5.0).sqrt());
    }

    #[test]
    fn pearson_and_cosine_by_hand() {
        close(Metric::Pearson.similarity(&[1., 2., 3.], &[1., 2., 4.]), 3.0 / (2.0 * 14.0 / 3.0f64).sqrt());
        close(Metric::Cosine.similarity(&[1., 0.], &[1., 1.]), 0.5f64.sqrt());
    }

    #[test]
    fn constants_have_no_similarity() {
        for metric in ALL {
            assert_eq!(metric.similarity(&[0.0; 4], &[1., 2., 3., 4.]), None);
        }
        // 0.1 is no binary fraction: its mean differs from it in the last place.
        assert_eq!(Metric::Pearson.similarity(&[0.1; 7], &[1., 2., 3., 4., 5., 6., 7.]), None);
        let rows = vec![vec![0.0; 3], vec![1.0, 2.0, 3.0], vec![3.0, 2.0, 2.0]];
        let all = Metric::Spearman.matrix(&rows, &Device::default());
        assert_eq!(all.get(0, 1), None);
        assert!(all.get(1, 2).is_some());
    }

    fn vectors() -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
        // Few distinct values, so that ties are common, as after a ReLU.
        (2usize..40).prop_flat_map(|n| {
            let values = || prop::collection::vec((-3i8..4).prop_map(f32::from), n);
            (values(), values())
        })
    }

    proptest! {
        #[test]
        fn ranks_agree_with_statrs((a, _) in vectors()) {
            let mut data = Data::new(a.iter().map(|&x| f64::from(x)).collect::<Vec<_>>());
            prop_assert_eq!(average_ranks(&a), data.ranks(RankTieBreaker::Average));
        }

        #[test]
        fn similarity_is_symmetric_bounded_and_one_with_itself((a, b) in vectors()) {
            for metric in ALL {
                let ab = metric.similarity(&a, &b);
                prop_assert_eq!(ab, metric.similarity(&b, &a));
                if let Some(s) = ab {
                    prop_assert!(s.abs() <= 1.0 + 1e-6);
                }
                if let Some(s) = metric.similarity(&a, &a) {
                    prop_assert!((s - 1.0).abs() < 1e-6);
                }
            }
        }

        #[test]
        fn invariances((a, b) in vectors(), scale in 0.1f32..10.0, shift in -5f32..5.0) {
            let same = |metric: Metric, f: &dyn Fn(f32) -> f32| {
                let moved: Vec<f32> = a.iter().map(|&x| f(x)).collect();
                match (metric.similarity(&a, &b), metric.similarity(&moved, &b)) {
                    (Some(x), Some(y)) => (x - y).abs() < 1e-4,
                    (x, y) => x.is_none() == y.is_none(),
                }
            };
            prop_assert!(same(Metric::Spearman, &|x| (x * 0.7).exp() * scale + shift));
            prop_assert!(same(Metric::Pearson, &|x| x * scale + shift));
            prop_assert!(same(Metric::Cosine, &|x| x * scale));
        }

        #[test]
        fn the_matrix_agrees_with_the_pairs((a, b) in vectors()) {
            for metric in ALL {
                let all = metric.matrix(&[a.clone(), b.clone()], &Device::default());
                match (all.get(0, 1), metric.similarity(&a, &b)) {
                    (Some(x), Some(y)) => prop_assert!((x - y).abs() < 1e-5),
                    (x, y) => prop_assert_eq!(x, y),
                }
            }
        }
    }
}
