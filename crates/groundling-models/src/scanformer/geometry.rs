//! Where patches are: which touch the picture, what lies below them, what a box covers of them.

use groundling_core::{BoxCxcywh, ContentRect, Unit};

use super::ScanFormerConfig;

/// Whether each patch of a level touches the content, in raster order.
pub(super) fn valid(config: &ScanFormerConfig, level: usize, content: ContentRect) -> Vec<bool> {
    let (grid, reach) = (config.grid(level), config.reach(level) as u64);
    let touches = |index: usize, start: u32, length: u32| {
        let (low, high) = (index as u64 * reach, (index as u64 + 1) * reach);
        low < u64::from(start) + u64::from(length) && high > u64::from(start)
    };
    let patches = (0..grid).flat_map(|row| (0..grid).map(move |column| (row, column)));
    patches
        .map(|(row, column)| touches(row, content.top, content.height) && touches(column, content.left, content.width))
        .collect()
}

/// The patch of the level above that a patch is part of, and which of its four parts it is: 2 * lower + right.
pub(super) fn parent(index: usize, grid: usize) -> (usize, usize) {
    let (row, column) = (index / grid, index % grid);
    (row / 2 * (grid / 2) + column / 2, row % 2 * 2 + column % 2)
}

/// Share of each patch of a level that a box covers, in raster order.
pub(super) fn coverage(config: &ScanFormerConfig, level: usize, bbox: BoxCxcywh<Unit>) -> Vec<f32> {
    let grid = config.grid(level);
    let edges = bbox.to_xyxy();
    let along = |low: f64, high: f64| -> Vec<f64> {
        let part = |index: usize| {
            let (start, end) = (index as f64, index as f64 + 1.0);
            (end.min(high * grid as f64) - start.max(low * grid as f64)).max(0.0)
        };
        (0..grid).map(part).collect()
    };
    let (rows, columns) = (along(edges.y0, edges.y1), along(edges.x0, edges.x1));
    rows.iter().flat_map(|row| columns.iter().map(move |column| (row * column) as f32)).collect()
}

/// Centres of the patches of a level as (x, y) in fractions of the canvas, in raster order.
pub(super) fn centres(config: &ScanFormerConfig, level: usize) -> Vec<(f64, f64)> {
    let grid = config.grid(level);
    let along = |index: usize| (index as f64 + 0.5) / grid as f64;
    (0..grid * grid).map(|index| (along(index % grid), along(index / grid))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_patches_of_a_wide_picture() {
        let config = ScanFormerConfig::vilt_b();
        let content = ContentRect { top: 0, left: 0, height: 480, width: 640 };
        let count = |level| valid(&config, level, content).iter().filter(|&&valid| valid).count();
        assert_eq!([0, 1, 2].map(count), [20, 80, 300]);
        // One row of pixels still touches one row of patches.
        let content = ContentRect { top: 639, left: 0, height: 1, width: 640 };
        let count = |level| valid(&config, level, content).iter().filter(|&&valid| valid).count();
        assert_eq!([0, 1, 2].map(count), [5, 10, 20]);
    }

    #[test]
    fn a_valid_child_has_a_valid_parent() {
        let config = ScanFormerConfig::tiny();
        for (top, left, height, width) in [(0, 0, 64, 37), (5, 9, 20, 3), (63, 0, 1, 1), (15, 16, 2, 32)] {
            let content = ContentRect { top, left, height, width };
            for level in 1..3 {
                let above = valid(&config, level - 1, content);
                let here = valid(&config, level, content);
                let grid = config.grid(level);
                assert!(here.iter().enumerate().all(|(index, &valid)| !valid || above[parent(index, grid).0]));
            }
        }
    }

    #[test]
    fn parts_are_numbered_row_by_row() {
        let found: Vec<usize> = (0..16).map(|index| parent(index, 4)).map(|(parent, slot)| 4 * parent + slot).collect();
        assert_eq!(found, [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15]);
    }

    #[test]
    fn coverage_sums_to_the_area() {
        let config = ScanFormerConfig::tiny();
        let bbox = BoxCxcywh::new(0.4, 0.55, 0.31, 0.5);
        for level in 0..3 {
            let cell = 1.0 / (config.grid(level) * config.grid(level)) as f32;
            let covered: f32 = coverage(&config, level, bbox).iter().map(|share| share * cell).sum();
            assert!((covered - 0.155).abs() < 1e-6, "{covered}");
        }
        let all = coverage(&config, 1, BoxCxcywh::new(0.5, 0.5, 1.0, 1.0));
        assert!(all.iter().all(|&share| (share - 1.0).abs() < 1e-6));
    }
}
