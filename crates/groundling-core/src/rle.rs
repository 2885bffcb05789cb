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
    #[error("polygon coordinate {index} is {found:?}, expected a finite number within ±{limit}", limit = MAX_COORDINATE)]
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
/// Longest outline of an object that we draw, in fifths of a pixel.
pub const MAX_OUTLINE_STEPS: u64 = 50_000_000;

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
    /// The outline is a staircase of five steps a pixel; its crossings of pixel columns give the run boundaries.
    ///
    /// # Errors
    /// If the list is too short or odd, or holds numbers no image needs.
    pub fn from_polygon(size: ImageSize, polygon: &[f64]) -> Result<Self, PolygonError> {
        Ok(Self { size, counts: Outline::read(polygon, &mut 0)?.runs(size) })
    }

    /// The union of several polygons, the form COCO stores an object in. An empty list is an empty mask.
    ///
    /// # Errors
    /// As [`Rle::from_polygon`]; the limit of length holds for all polygons together.
    pub fn from_polygons<P: AsRef<[f64]>>(size: ImageSize, polygons: &[P]) -> Result<Self, PolygonError> {
        let mut steps = 0;
        let parts = polygons
            .iter()
            .map(|polygon| Ok(Self { size, counts: Outline::read(polygon.as_ref(), &mut steps)?.runs(size) }));
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

/// A polygon's outline, at five steps a pixel.
struct Outline {
    points: Vec<(i32, i32)>,
}

/// Two corners of an outline, in steps.
type Edge = ((i32, i32), (i32, i32));

const STEPS_PER_PIXEL: i32 = 5;

impl Outline {
    /// Checks a polygon. Its length is added to `steps`, which must not grow beyond [`MAX_OUTLINE_STEPS`].
    fn read(polygon: &[f64], steps: &mut u64) -> Result<Self, PolygonError> {
        if polygon.len() < 6 || !polygon.len().is_multiple_of(2) {
            return Err(PolygonError::Count { found: polygon.len() });
        }
        if let Some(index) = polygon.iter().position(|c| !c.is_finite() || c.abs() > MAX_COORDINATE) {
            return Err(PolygonError::Coordinate { index, found: polygon[index] });
        }
        let scaled = |c: f64| (f64::from(STEPS_PER_PIXEL) * c + 0.5) as i32;
        let outline = Self { points: polygon.chunks_exact(2).map(|xy| (scaled(xy[0]), scaled(xy[1]))).collect() };
        let length = |((x0, y0), (x1, y1)): Edge| u64::from(x0.abs_diff(x1).max(y0.abs_diff(y1))) + 1;
        *steps += outline.edges().map(length).sum::<u64>();
        if *steps > MAX_OUTLINE_STEPS {
            return Err(PolygonError::TooLong { found: *steps });
        }
        Ok(outline)
    }

    fn edges(&self) -> impl Iterator<Item = Edge> + '_ {
        self.points.iter().copied().zip(self.points.iter().copied().cycle().skip(1))
    }

    fn runs(&self, size: ImageSize) -> Vec<u32> {
        let mut positions: Vec<u64> = Vec::new();
        self.edges().for_each(|edge| add_crossings(edge, size, &mut positions));
        positions.push(size.pixels());
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

/// Where an edge passes from step 2 to step 3 of a pixel column of the image, as column-major positions.
///
/// An edge is a staircase with one point a step along its longer axis, from the lower end. Only the points beside a
/// crossing are computed: a corner may lie a million pixels outside, and walking there would take seconds.
fn add_crossings((mut start, mut end): Edge, size: ImageSize, positions: &mut Vec<u64>) {
    let (dx, dy) = ((end.0 - start.0).abs(), (end.1 - start.1).abs());
    let along_x = dx >= dy;
    if if along_x { start.0 > end.0 } else { start.1 > end.1 } {
        (start, end) = (end, start);
    }
    let ((xs, ys), (xe, ye)) = (start, end);
    // A repeated corner gives 0/0 here, and no crossing that would use it.
    let slope = if along_x { f64::from(ye - ys) / f64::from(dx) } else { f64::from(xe - xs) / f64::from(dy) };
    let other = |start: i32, t: i32| (f64::from(start) + slope * f64::from(t) + 0.5) as i32;
    let (first, last) = if along_x { (xs, xe) } else { (other(xs, 0), other(xs, dy)) };
    // Column c is passed if steps 5 c + 2 and 5 c + 3 are both on the edge.
    let left = (first.min(last) + 2).div_euclid(STEPS_PER_PIXEL).max(0);
    let right = (first.max(last) - 3).div_euclid(STEPS_PER_PIXEL);
    for column in left..=right {
        if column as u32 >= size.width() {
            break;
        }
        let before = STEPS_PER_PIXEL * column + 2;
        let v = if along_x {
            other(ys, before - xs).min(other(ys, before - xs + 1))
        } else {
            let beyond = |t: i32| if first < last { other(xs, t) > before } else { other(xs, t) <= before };
            ys + first_true(dy, beyond) - 1
        };
        let row = (f64::from(v) + 0.5) / f64::from(STEPS_PER_PIXEL) - 0.5;
        let row = row.clamp(0.0, f64::from(size.height())).ceil();
        positions.push(column as u64 * u64::from(size.height()) + row as u64);
    }
}

/// The first of 1 to `end` where `holds`, which is false at 0 and never false again after it was true.
fn first_true(end: i32, holds: impl Fn(i32) -> bool) -> i32 {
    let (mut no, mut yes) = (0, end);
    while yes - no > 1 {
        let middle = no + (yes - no) / 2;
        if holds(middle) { yes = middle } else { no = middle }
    }
    yes
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

    /// The crossings of an outline, by walking all of it.
    fn walked(size: ImageSize, outline: &Outline) -> Vec<u64> {
        let (mut us, mut vs) = (Vec::new(), Vec::new());
        for ((mut xs, mut ys), (mut xe, mut ye)) in outline.edges() {
            let (dx, dy) = ((xe - xs).abs(), (ye - ys).abs());
            let along_x = dx >= dy;
            let backwards = if along_x { xs > xe } else { ys > ye };
            if backwards {
                (xs, ys, xe, ye) = (xe, ye, xs, ys);
            }
            let length = dx.max(dy);
            let slope = if along_x { f64::from(ye - ys) / f64::from(dx) } else { f64::from(xe - xs) / f64::from(dy) };
            for step in 0..=length {
                let t = if backwards { length - step } else { step };
                let other = |start: i32| (f64::from(start) + slope * f64::from(t) + 0.5) as i32;
                us.push(if along_x { xs + t } else { other(xs) });
                vs.push(if along_x { other(ys) } else { ys + t });
            }
        }
        let mut positions = Vec::new();
        for j in 1..us.len() {
            let column = (f64::from(if us[j] < us[j - 1] { us[j] } else { us[j] - 1 }) + 0.5) / 5.0 - 0.5;
            let outside = column < 0.0 || column > f64::from(size.width() - 1);
            if us[j] != us[j - 1] && column.floor() == column && !outside {
                let row = ((f64::from(vs[j].min(vs[j - 1])) + 0.5) / 5.0 - 0.5).clamp(0.0, f64::from(size.height()));
                positions.push(column as u64 * u64::from(size.height()) + row.ceil() as u64);
            }
        }
        positions
    }

    #[test]
    fn crossings_are_those_of_the_walk() {
        let mut state = 1u64;
        let mut draw = |limit: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 33) % limit) as f64
        };
        let mut crossings = 0;
        for round in 0..3000 {
            let size = size(1 + draw(40) as u32, 1 + draw(40) as u32);
            let (spread, fraction) = ([45, 90, 600][round % 3], [1.0, 2.0, 7.0, 1000.0][round % 4]);
            let middle = if spread == 45 { 2.0 } else { spread as f64 / 2.0 };
            let corners = 3 + draw(6) as usize;
            let polygon: Vec<f64> =
                (0..2 * corners).map(|_| draw(spread) - middle + draw(1000) / 1000.0 / fraction).collect();
            let outline = Outline::read(&polygon, &mut 0).unwrap();
            let (mut found, mut expected) = (Vec::new(), walked(size, &outline));
            outline.edges().for_each(|edge| add_crossings(edge, size, &mut found));
            found.sort_unstable();
            expected.sort_unstable();
            assert_eq!(found, expected, "{size:?} {polygon:?}");
            crossings += found.len();
        }
        assert!(crossings > 100_000, "only {crossings} crossings were compared");
    }

    #[test]
    fn far_corners_cost_nothing() {
        let image = size(9, 9);
        let far = [-1e6, 2.0, 1e6, 2.0, 1e6, 5.0, -1e6, 5.0];
        // As wide as the image; two million pixels of outline at each side of it are not walked.
        assert_eq!(Rle::from_polygon(image, &far).unwrap().area(), 27);
        assert_eq!(Rle::from_polygons(image, &[far, far]).unwrap().area(), 27);
        let many = Rle::from_polygons(image, &[far; 3]);
        assert!(matches!(many, Err(PolygonError::TooLong { found }) if found > MAX_OUTLINE_STEPS), "{many:?}");
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
