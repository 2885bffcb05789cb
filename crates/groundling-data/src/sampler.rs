//! Orders of training samples.

use crate::rng::Rng;

/// DMMI's order for Ref-ZOM: with `nz` zero-target and `no` other sentences and `k = no / nz`, repeat "k others, then a
/// zero one", then append the remaining others. Without zero-target sentences the others keep their order.
///
/// Source: specification of DMMI, Sec. 11 there. PARITY: the released program draws this order once for a whole run.
pub fn interleave_zero<T: Copy>(zero: &[T], others: &[T]) -> Vec<T> {
    if zero.is_empty() {
        return others.to_vec();
    }
    let each = others.len() / zero.len();
    let mut order = Vec::with_capacity(zero.len() + others.len());
    for (turn, &item) in zero.iter().enumerate() {
        order.extend_from_slice(&others[turn * each..(turn + 1) * each]);
        order.push(item);
    }
    order.extend_from_slice(&others[zero.len() * each..]);
    order
}

/// As [`interleave_zero`] on two shuffled lists.
pub fn interleave_zero_shuffled<T: Copy>(zero: &[T], others: &[T], rng: &mut Rng) -> Vec<T> {
    let (mut zero, mut others) = (zero.to_vec(), others.to_vec());
    rng.shuffle(&mut zero);
    rng.shuffle(&mut others);
    interleave_zero(&zero, &others)
}

/// Every `replicas`-th item from `rank` on: the share of one process.
pub fn share_of_rank<T: Copy>(order: &[T], rank: usize, replicas: usize) -> Vec<T> {
    order.iter().copied().skip(rank).step_by(replicas.max(1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_spread() {
        assert_eq!(interleave_zero(&[90, 91], &[0, 1, 2, 3, 4]), [0, 1, 90, 2, 3, 91, 4]);
        assert_eq!(interleave_zero(&[], &[1, 2]), [1, 2]);
        assert_eq!(interleave_zero(&[7, 8, 9], &[1]), [7, 8, 9, 1]);
    }

    #[test]
    fn shares_cover_everything_once() {
        let order: Vec<u32> = (0..11).collect();
        let mut all: Vec<u32> = (0..3).flat_map(|rank| share_of_rank(&order, rank, 3)).collect();
        all.sort_unstable();
        assert_eq!(all, order);
    }
}
