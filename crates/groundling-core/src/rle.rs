//! COCO run-length codes and polygons, equal to pycocotools bit for bit.
//!
//! A code lists run lengths in **column-major** order (down the first column, then the second), background first. Files
//! hold it either as a list of numbers or as a compressed string of six-bit characters. Areas, boxes, unions and
//! overlaps are computed on the runs, without decoding.
//!
//! Source: the behaviour of the COCO mask API (pycocotools 2.0.11).

use crate::{BinaryMask, BoxXyxy, ImageSize, Pixels};

/// Runs of background and foreground in turn, column-major, that add up to the size of the image.
#[derive(Clone, PartialEq, Eq)]
pub struct Rle {
    size: ImageSize,
    counts: Vec<u32>,
}

/// Why a run-length code is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RleError {
    /// The runs do not add up to the image.
    #[error("run lengths add up to {found}, expected {expected} pixels for {size} (width x height)")]
    Total {
        /// The size stated.
        size: ImageSize,
        /// Pixels expected.
        expected: u64,
        /// Sum found; counting stops when it passes the image.
        found: u64,
    },
    /// A character that no encoder writes.
    #[error("compressed run-length code has byte {found:#04x} at position {position}, expected 0x30 to 0x6f")]
    BadByte {
        /// Position in the string.
        position: usize,
        /// The byte.
        found: u8,
    },
    /// The string ends inside a number.
    #[error("compressed run-length code ends inside number {index}")]
    Truncated {
        /// Which number.
        index: usize,
    },
    /// A number is negative or beyond 32 bits.
    #[error("run length {index} is {found}, expected 0 to 4294967295")]
    OutOfRange {
        /// Which number.
        index: usize,
        /// Its value.
        found: i64,
    },
    /// Codes of different sizes were combined.
    #[error("run-length codes of {left} and {right} (width x height) cannot be combined")]
    SizeMismatch {
        /// Size of the first.
        left: ImageSize,
        /// Size of the second.
        right: ImageSize,
    },
}

/// Why a list of numbers is not a polygon.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PolygonError {
    /// Too few numbers, or an odd count.
    #[error("polygon has {found} numbers, expected an even count of at least 6 (x, y, x, y, ...)")]
    Count {
        /// Numbers found.
        found: usize,
    },
    /// A coordinate that is not finite or absurdly far away.
    #[error("polygon coordinate {index} is {found}, expected a finite number within ±{limit}", limit = MAX_COORDINATE)]
    Coordinate {
        /// Which number of the list.
        index: usize,
        /// Its value.
        found: f64,
    },
    /// The outline is so long that drawing it would take too much memory.
    #[error("polygon outline is {found} steps long, expected at most {limit}", limit = MAX_OUTLINE_STEPS)]
    TooLong {
        /// Steps the outline takes at five steps a pixel.
        found: u64,
    },
}

/// Largest coordinate we accept in a polygon, in pixels.
pub const MAX_COORDINATE: f64 = 1_000_000.0;
/// Longest outline we draw, in fifths of a pixel: a million pixels, fifteen times around the largest image we decode.
/// Each step costs time and sixteen bytes, and a file can hold many polygons.
pub const MAX_OUTLINE_STEPS: u64 = 5_000_000;

impl std::fmt::Debug for Rle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rle({}, {} runs, {} foreground)", self.size, self.counts.len(), self.area())
    }
}

impl Rle {
    /// All background.
    pub fn empty(size: ImageSize) -> Self {
        Self { size, counts: vec![size.pixels() as u32] }
    }

    /// From uncompressed run lengths, background first.
    ///
    /// # Errors
    /// If the runs do not add up to height x width.
    pub fn from_counts(size: ImageSize, counts: Vec<u32>) -> Result<Self, RleError> {
        let expected = size.pixels();
        let mut found = 0u64;
        for &count in &counts {
            found += u64::from(count);
            if found > expected {
                break;
            }
        }
        if found != expected {
            return Err(RleError::Total { size, expected, found });
        }
        Ok(Self { size, counts })
    }

    /// From the compressed string of COCO files.
    ///
    /// Little-endian groups of five bits, one character each (value = byte - 48); bit 0x20 says that more follow, bit
    /// 0x10 of the last is the sign. From the fourth number on, the value is a difference to the one two places before.
    ///
    /// # Errors
    /// [`RleError`], naming the place.
    pub fn from_compressed(size: ImageSize, code: &str) -> Result<Self, RleError> {
        let mut counts: Vec<u32> = Vec::new();
        let mut bytes = code.bytes().enumerate();
        let mut total = 0u64;
        while let Some((position, first)) = bytes.next() {
            let index = counts.len();
            let (mut value, mut shift) = (0i64, 0u32);
            let mut next = Some((position, first));
            loop {
                let Some((position, byte)) = next else { return Err(RleError::Truncated { index }) };
                if !(0x30..=0x6f).contains(&byte) {
                    return Err(RleError::BadByte { position, found: byte });
                }
                let group = i64::from(byte - 48);
                if shift > 35 {
                    return Err(RleError::OutOfRange { index, found: value });
                }
                value |= (group & 0x1f) << shift;
                shift += 5;
                if group & 0x20 == 0 {
                    if group & 0x10 != 0 {
                        value |= -1i64 << shift;
                    }
                    break;
                }
                next = bytes.next();
            }
            if index > 2 {
                value += i64::from(counts[index - 2]);
            }
            let count = u32::try_from(value).map_err(|_| RleError::OutOfRange { index, found: value })?;
            total += u64::from(count);
            if total > size.pixels() {
                return Err(RleError::Total { size, expected: size.pixels(), found: total });
            }
            counts.push(count);
        }
        Self::from_counts(size, counts)
    }

    /// The compressed string of COCO files.
    pub fn to_compressed(&self) -> String {
        let mut code = String::with_capacity(self.counts.len() * 2);
        for (index, &count) in self.counts.iter().enumerate() {
            let mut value = i64::from(count);
            if index > 2 {
                value -= i64::from(self.counts[index - 2]);
            }
            loop {
                let mut group = (value & 0x1f) as u8;
                value >>= 5;
                let more = if group & 0x10 != 0 { value != -1 } else { value != 0 };
                if more {
                    group |= 0x20;
                }
                code.push(char::from(group + 48));
                if !more {
                    break;
                }
            }
        }
        code
    }

    /// Encodes a mask.
    pub fn from_mask(mask: &BinaryMask) -> Self {
        let size = mask.size();
        let (height, width) = (size.height() as usize, size.width() as usize);
        let mut runs = RunBuilder::default();
        // Column-major over a row-major buffer: a strip of columns at a time keeps the reads in cache.
        const STRIP: usize = 64;
        let mut strip = vec![false; height * STRIP];
        for left in (0..width).step_by(STRIP) {
            let columns = STRIP.min(width - left);
            for row in 0..height {
                let values = &mask.pixels()[row * width + left..row * width + left + columns];
                for (column, &value) in values.iter().enumerate() {
                    strip[column * height + row] = value;
                }
            }
            runs.extend(&strip[..columns * height]);
        }
        Self { size, counts: runs.finish() }
    }

    /// Decodes to a mask.
    pub fn to_mask(&self) -> BinaryMask {
        let (height, width) = (self.size.height() as usize, self.size.width() as usize);
        let mut pixels = vec![false; height * width];
        for (start, end) in self.foreground() {
            for position in start..end {
                let position = position as usize;
                pixels[(position % height) * width + position / height] = true;
            }
        }
        BinaryMask::from_pixels(self.size, pixels).unwrap_or_else(|_| BinaryMask::empty(self.size))
    }

    /// A filled box, as pycocotools turns one into a mask.
    ///
    /// # Errors
    /// If a coordinate is not finite, or so far away that no image needs it.
    pub fn from_box(size: ImageSize, bbox: BoxXyxy<Pixels>) -> Result<Self, PolygonError> {
        let [x0, y0, x1, y1] = bbox.to_array();
        Self::from_polygon(size, &[x0, y0, x0, y1, x1, y1, x1, y0])
    }

    /// Rasterises one polygon given as `x, y, x, y, ...` in pixels, exactly as pycocotools does.
    ///
    /// The outline is walked at five steps a pixel; the crossings of pixel columns give the run boundaries.
    ///
    /// # Errors
    /// If the list is too short or odd, or holds numbers no image needs.
    pub fn from_polygon(size: ImageSize, polygon: &[f64]) -> Result<Self, PolygonError> {
        let outline = Outline::walk(polygon)?;
        Ok(Self { size, counts: outline.runs(size) })
    }

    /// The union of several polygons, the form COCO stores an object in. An empty list is an empty mask.
    ///
    /// # Errors
    /// As [`Rle::from_polygon`].
    pub fn from_polygons<P: AsRef<[f64]>>(size: ImageSize, polygons: &[P]) -> Result<Self, PolygonError> {
        let parts = polygons.iter().map(|polygon| Self::from_polygon(size, polygon.as_ref()));
        Ok(Self::overlaid(size, &parts.collect::<Result<Vec<_>, _>>()?, |covering| covering > 0))
    }

    /// The pixels for which `keep` accepts the number of `parts` that cover them: `|n| n > 0` is the union, `|n| n == 1`
    /// what exactly one part covers. One pass over all runs, however many parts there are.
    ///
    /// # Errors
    /// If a part is of another size.
    pub fn layered(size: ImageSize, parts: &[Self], keep: impl Fn(usize) -> bool) -> Result<Self, RleError> {
        match parts.iter().find(|part| part.size != size) {
            Some(part) => Err(RleError::SizeMismatch { left: size, right: part.size }),
            None => Ok(Self::overlaid(size, parts, keep)),
        }
    }

    fn overlaid(size: ImageSize, parts: &[Self], keep: impl Fn(usize) -> bool) -> Self {
        let (mut starts, mut ends): (Vec<u64>, Vec<u64>) = parts.iter().flat_map(Self::foreground).unzip();
        starts.sort_unstable();
        ends.sort_unstable();
        let (mut starts, mut ends) = (starts.into_iter().peekable(), ends.into_iter().peekable());
        let mut runs = RunBuilder::default();
        let (mut position, mut covering) = (0, 0);
        // Every start has its end behind it, so the ends last longest.
        while let Some(&end) = ends.peek() {
            let next = starts.peek().map_or(end, |&start| start.min(end));
            runs.push(keep(covering), (next - position) as u32);
            position = next;
            while starts.next_if_eq(&next).is_some() {
                covering += 1;
            }
            while ends.next_if_eq(&next).is_some() {
                covering -= 1;
            }
        }
        runs.push(keep(0), (size.pixels() - position) as u32);
        Self { size, counts: runs.finish() }
    }

    /// Height and width of the image.
    pub fn size(&self) -> ImageSize {
        self.size
    }

    /// The run lengths, background first.
    pub fn counts(&self) -> &[u32] {
        &self.counts
    }

    /// Foreground pixels.
    pub fn area(&self) -> u64 {
        self.counts.iter().skip(1).step_by(2).map(|&count| u64::from(count)).sum()
    }

    /// Whether there is no foreground.
    pub fn is_empty(&self) -> bool {
        self.area() == 0
    }

    /// The tight box around the foreground, `None` if there is none.
    pub fn bbox(&self) -> Option<BoxXyxy<Pixels>> {
        let height = u64::from(self.size.height());
        let (mut x0, mut y0, mut x1, mut y1) = (u64::MAX, u64::MAX, 0, 0);
        for (start, end) in self.foreground() {
            let (first, last) = (start / height, (end - 1) / height);
            (x0, x1) = (x0.min(first), x1.max(last + 1));
            let (top, bottom) = if first == last { (start % height, (end - 1) % height + 1) } else { (0, height) };
            (y0, y1) = (y0.min(top), y1.max(bottom));
        }
        (x1 > 0).then(|| BoxXyxy::new(x0 as f64, y0 as f64, x1 as f64, y1 as f64))
    }

    /// Pixels in both codes.
    ///
    /// # Errors
    /// If the sizes differ.
    pub fn intersection(&self, other: &Self) -> Result<u64, RleError> {
        self.same_size(other)?;
        let (mut left, mut right) = (self.foreground(), other.foreground());
        let (mut a, mut b) = (left.next(), right.next());
        let mut common = 0;
        while let (Some((a0, a1)), Some((b0, b1))) = (a, b) {
            common += a1.min(b1).saturating_sub(a0.max(b0));
            if a1 <= b1 {
                a = left.next();
            } else {
                b = right.next();
            }
        }
        Ok(common)
    }

    /// Pixels in both and pixels in either.
    ///
    /// # Errors
    /// If the sizes differ.
    pub fn intersection_and_union(&self, other: &Self) -> Result<(u64, u64), RleError> {
        let both = self.intersection(other)?;
        Ok((both, self.area() + other.area() - both))
    }

    /// Intersection over union, 0 where both are empty. With `truth_is_crowd` the denominator is the area of `self`.
    ///
    /// # Errors
    /// If the sizes differ.
    pub fn iou(&self, truth: &Self, truth_is_crowd: bool) -> Result<f64, RleError> {
        let (both, either) = self.intersection_and_union(truth)?;
        let over = if truth_is_crowd { self.area() } else { either };
        Ok(if both == 0 { 0.0 } else { both as f64 / over as f64 })
    }

    /// The union of two codes.
    ///
    /// # Errors
    /// If the sizes differ.
    pub fn union(&self, other: &Self) -> Result<Self, RleError> {
        self.same_size(other)?;
        Ok(self.merged(other, |a, b| a || b))
    }

    /// Pixels of `self` that are not in `other`.
    ///
    /// # Errors
    /// If the sizes differ.
    pub fn difference(&self, other: &Self) -> Result<Self, RleError> {
        self.same_size(other)?;
        Ok(self.merged(other, |a, b| a && !b))
    }

    /// Foreground runs as half-open ranges of column-major positions, empty runs left out.
    pub fn foreground(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let mut position = 0u64;
        self.counts.iter().enumerate().filter_map(move |(index, &count)| {
            let start = position;
            position += u64::from(count);
            (index % 2 == 1 && count > 0).then_some((start, position))
        })
    }

    fn same_size(&self, other: &Self) -> Result<(), RleError> {
        if self.size == other.size {
            return Ok(());
        }
        Err(RleError::SizeMismatch { left: self.size, right: other.size })
    }

    fn merged(&self, other: &Self, keep: impl Fn(bool, bool) -> bool) -> Self {
        let mut runs = RunBuilder::default();
        let (mut left, mut right) = (Runs::new(&self.counts), Runs::new(&other.counts));
        while let (Some(a), Some(b)) = (left.remaining(), right.remaining()) {
            let step = a.min(b);
            runs.push(keep(left.inside, right.inside), step);
            left.advance(step);
            right.advance(step);
        }
        Self { size: self.size, counts: runs.finish() }
    }
}

/// Reads runs piecewise.
struct Runs<'a> {
    counts: std::slice::Iter<'a, u32>,
    left: u32,
    inside: bool,
}

impl<'a> Runs<'a> {
    fn new(counts: &'a [u32]) -> Self {
        let mut counts = counts.iter();
        let left = counts.next().copied().unwrap_or(0);
        Self { counts, left, inside: false }
    }

    /// Length of the current run, skipping empty ones; `None` at the end.
    fn remaining(&mut self) -> Option<u32> {
        while self.left == 0 {
            self.left = *self.counts.next()?;
            self.inside = !self.inside;
        }
        Some(self.left)
    }

    fn advance(&mut self, step: u32) {
        self.left -= step;
    }
}

/// Collects values into alternating runs, background first.
#[derive(Default)]
struct RunBuilder {
    counts: Vec<u32>,
    inside: bool,
    length: u32,
}

impl RunBuilder {
    fn push(&mut self, inside: bool, length: u32) {
        if length == 0 {
            return;
        }
        if inside != self.inside {
            self.counts.push(self.length);
            (self.inside, self.length) = (inside, 0);
        }
        self.length += length;
    }

    fn extend(&mut self, values: &[bool]) {
        for run in values.chunk_by(|a, b| a == b) {
            self.push(run[0], run.len() as u32);
        }
    }

    fn finish(mut self) -> Vec<u32> {
        self.counts.push(self.length);
        self.counts
    }
}

/// The densely walked outline of a polygon, at five steps a pixel.
struct Outline {
    u: Vec<i32>,
    v: Vec<i32>,
}

const STEPS_PER_PIXEL: f64 = 5.0;

impl Outline {
    fn walk(polygon: &[f64]) -> Result<Self, PolygonError> {
        if polygon.len() < 6 || !polygon.len().is_multiple_of(2) {
            return Err(PolygonError::Count { found: polygon.len() });
        }
        if let Some(index) = polygon.iter().position(|c| !c.is_finite() || c.abs() > MAX_COORDINATE) {
            return Err(PolygonError::Coordinate { index, found: polygon[index] });
        }
        let scaled = |c: f64| (STEPS_PER_PIXEL * c + 0.5) as i32;
        let points: Vec<(i32, i32)> = polygon.chunks_exact(2).map(|xy| (scaled(xy[0]), scaled(xy[1]))).collect();
        let edges = || points.iter().copied().zip(points.iter().copied().cycle().skip(1));
        let steps: u64 = edges().map(|((x0, y0), (x1, y1))| u64::from(x0.abs_diff(x1).max(y0.abs_diff(y1))) + 1).sum();
        if steps > MAX_OUTLINE_STEPS {
            return Err(PolygonError::TooLong { found: steps });
        }
        let mut outline = Self { u: Vec::with_capacity(steps as usize), v: Vec::with_capacity(steps as usize) };
        edges().for_each(|(from, to)| outline.edge(from, to));
        Ok(outline)
    }

    /// Walks along the longer axis from the lower end, but emits the points in the edge's own direction.
    fn edge(&mut self, (mut xs, mut ys): (i32, i32), (mut xe, mut ye): (i32, i32)) {
        let (dx, dy) = ((xe - xs).abs(), (ye - ys).abs());
        let along_x = dx >= dy;
        let backwards = if along_x { xs > xe } else { ys > ye };
        if backwards {
            (xs, ys, xe, ye) = (xe, ye, xs, ys);
        }
        let length = dx.max(dy);
        // A repeated vertex gives 0/0 here; its only point shares `u` with its neighbours and never counts.
        let slope = if along_x { f64::from(ye - ys) / f64::from(dx) } else { f64::from(xe - xs) / f64::from(dy) };
        for step in 0..=length {
            let t = if backwards { length - step } else { step };
            let other = |start: i32| (f64::from(start) + slope * f64::from(t) + 0.5) as i32;
            let (u, v) = if along_x { (xs + t, other(ys)) } else { (other(xs), ys + t) };
            self.u.push(u);
            self.v.push(v);
        }
    }

    fn runs(&self, size: ImageSize) -> Vec<u32> {
        let (height, width) = (size.height(), size.width());
        let total = size.pixels();
        let mut positions: Vec<u64> = Vec::new();
        for j in 1..self.u.len() {
            let (u0, u1) = (self.u[j - 1], self.u[j]);
            if u0 == u1 {
                continue;
            }
            let column = (f64::from(if u1 < u0 { u1 } else { u1 - 1 }) + 0.5) / STEPS_PER_PIXEL - 0.5;
            if column.floor() != column || column < 0.0 || column > f64::from(width - 1) {
                continue;
            }
            let row = (f64::from(self.v[j].min(self.v[j - 1])) + 0.5) / STEPS_PER_PIXEL - 0.5;
            let row = row.clamp(0.0, f64::from(height)).ceil();
            positions.push(column as u64 * u64::from(height) + row as u64);
        }
        positions.push(total);
        positions.sort_unstable();
        let mut previous = 0;
        let lengths = positions.into_iter().map(|position| {
            let length = (position - previous) as u32;
            previous = position;
            length
        });
        merge_empty_runs(lengths)
    }
}

/// A run of length zero joins its neighbours: two equal positions cancel. The first run may be empty.
fn merge_empty_runs(mut lengths: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut counts: Vec<u32> = lengths.next().into_iter().collect();
    while let Some(length) = lengths.next() {
        if length > 0 {
            counts.push(length);
        } else if let (Some(after), Some(last)) = (lengths.next(), counts.last_mut()) {
            *last += after;
        }
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(height: u32, width: u32) -> ImageSize {
        ImageSize::new(height, width).unwrap()
    }

    fn checker(height: u32, width: u32) -> BinaryMask {
        BinaryMask::from_fn(size(height, width), |row, column| (row + 2 * column) % 3 != 1)
    }

    #[test]
    fn masks_survive_the_round_trip() {
        for (height, width) in [(1, 1), (1, 200), (200, 1), (7, 130), (64, 64)] {
            let mask = checker(height, width);
            let code = Rle::from_mask(&mask);
            assert_eq!(code.to_mask(), mask);
            assert_eq!(code.area(), mask.area());
            assert_eq!(code.bbox(), mask.bbox());
            assert_eq!(Rle::from_compressed(mask.size(), &code.to_compressed()).unwrap(), code);
        }
    }

    #[test]
    fn set_operations_equal_those_of_masks() {
        let (a, b) = (checker(11, 70), BinaryMask::from_fn(size(11, 70), |row, column| (row * column) % 4 == 0));
        let (code_a, code_b) = (Rle::from_mask(&a), Rle::from_mask(&b));
        let mut union = a.clone();
        union.union_with(&b).unwrap();
        let mut rest = a.clone();
        rest.subtract(&b).unwrap();
        assert_eq!(code_a.union(&code_b).unwrap(), Rle::from_mask(&union));
        assert_eq!(code_a.difference(&code_b).unwrap(), Rle::from_mask(&rest));
        assert_eq!(code_a.intersection_and_union(&code_b).unwrap(), a.intersection_and_union(&b).unwrap());
    }

    #[test]
    fn layers_are_counted_pixel_by_pixel() {
        let parts: Vec<BinaryMask> =
            (2..5).map(|n| BinaryMask::from_fn(size(9, 14), |row, column| (row * 14 + column) % n == 0)).collect();
        let codes: Vec<Rle> = parts.iter().map(Rle::from_mask).collect();
        for wanted in 0..4 {
            let expected = BinaryMask::from_fn(size(9, 14), |row, column| {
                parts.iter().filter(|part| part.get(row, column)).count() == wanted
            });
            assert_eq!(Rle::layered(size(9, 14), &codes, |n| n == wanted).unwrap(), Rle::from_mask(&expected));
        }
        let union = codes[0].union(&codes[1]).unwrap().union(&codes[2]).unwrap();
        assert_eq!(Rle::layered(size(9, 14), &codes, |n| n > 0).unwrap(), union);
        assert_eq!(Rle::layered(size(9, 14), &[], |n| n > 0).unwrap(), Rle::empty(size(9, 14)));
        assert!(matches!(Rle::layered(size(14, 9), &codes, |n| n > 0), Err(RleError::SizeMismatch { .. })));
    }

    #[test]
    fn an_axis_aligned_square_covers_its_pixels() {
        let code = Rle::from_polygon(size(10, 10), &[2.0, 3.0, 6.0, 3.0, 6.0, 8.0, 2.0, 8.0]).unwrap();
        assert_eq!(code.area(), 20);
        assert_eq!(code.bbox().unwrap().to_array(), [2.0, 3.0, 6.0, 8.0]);
    }

    #[test]
    fn runs_that_overrun_are_errors() {
        let square = size(2, 2);
        assert!(matches!(Rle::from_counts(square, vec![1, 4]), Err(RleError::Total { expected: 4, found: 5, .. })));
        assert!(matches!(Rle::from_counts(square, vec![1]), Err(RleError::Total { expected: 4, found: 1, .. })));
        assert!(matches!(Rle::from_counts(square, vec![u32::MAX; 9]), Err(RleError::Total { .. })));
    }

    #[test]
    fn broken_strings_are_errors() {
        let square = size(2, 2);
        for (code, what) in [
            ("\u{7f}", "BadByte"),
            (" ", "BadByte"),
            ("P", "Truncated"),
            ("oooooooooooooooo", "OutOfRange"),
            ("N", "OutOfRange"), // -2
            ("4", ""),
            ("5", "Total"),
            ("ooooo0", "Total"),
        ] {
            match Rle::from_compressed(square, code) {
                Ok(_) => assert_eq!(what, "", "{code:?}"),
                Err(error) => {
                    assert!(!what.is_empty() && format!("{error:?}").starts_with(what), "{code:?}: {error:?}")
                }
            }
        }
    }

    #[test]
    fn broken_polygons_are_errors() {
        let square = size(4, 4);
        assert!(matches!(Rle::from_polygon(square, &[0.0; 5]), Err(PolygonError::Count { found: 5 })));
        assert!(matches!(Rle::from_polygon(square, &[0.0; 4]), Err(PolygonError::Count { found: 4 })));
        let far = [0.0, 0.0, f64::NAN, 0.0, 1.0, 1.0];
        assert!(matches!(Rle::from_polygon(square, &far), Err(PolygonError::Coordinate { index: 2, .. })));
        let zigzag: Vec<f64> = (0..40).map(|i| if i % 4 < 2 { -9e5 } else { 9e5 }).collect();
        assert!(matches!(Rle::from_polygon(square, &zigzag), Err(PolygonError::TooLong { .. })));
    }
}
