//! Polygons to coverage: how much of each pixel a shape covers.

/// A point in pixels, x to the right and y down; pixel column `j` covers `[j, j + 1)`.
pub(crate) type Point = (f64, f64);

/// Sub-rows a pixel row; coverage along x is exact.
const SUBROWS: usize = 8;

/// Coordinates beyond this are pulled in, so that arithmetic on them stays exact enough and finite.
const FAR: f64 = 1e9;

/// Calls `paint(row, first column, coverages)` for every row of a `width` x `height` image that the union of the
/// polygons touches. Non-zero winding rule; contours with a coordinate that is not finite are left out.
pub(crate) fn fill(contours: &[Vec<Point>], width: u32, height: u32, mut paint: impl FnMut(u32, usize, &[f32])) {
    let edges = edges(contours);
    let Some(top) = edges.iter().map(|edge| edge.y0).reduce(f64::min) else { return };
    let bottom = edges.iter().map(|edge| edge.y1).fold(top, f64::max);
    let first = top.floor().clamp(0.0, f64::from(height)) as u32;
    let last = bottom.ceil().clamp(0.0, f64::from(height)) as u32;

    let mut by_top: Vec<usize> = (0..edges.len()).collect();
    by_top.sort_by(|&a, &b| edges[a].y0.total_cmp(&edges[b].y0));
    let mut waiting = by_top.into_iter().peekable();
    let mut active: Vec<usize> = Vec::new();
    let mut coverage = vec![0f32; width as usize];
    let mut crossings: Vec<(f64, i32)> = Vec::new();
    for row in first..last {
        let y = f64::from(row);
        active.retain(|&edge| edges[edge].y1 > y);
        while let Some(edge) = waiting.next_if(|&edge| edges[edge].y0 < y + 1.0) {
            active.push(edge);
        }
        let (mut left, mut right) = (width as usize, 0);
        for subrow in 0..SUBROWS {
            let y = y + (subrow as f64 + 0.5) / SUBROWS as f64;
            crossings.clear();
            let crossed = active.iter().map(|&edge| &edges[edge]).filter(|edge| edge.y0 <= y && y < edge.y1);
            crossings.extend(crossed.map(|edge| (edge.x_at(y).clamp(0.0, f64::from(width)), edge.winding)));
            crossings.sort_by(|a, b| a.0.total_cmp(&b.0));
            let mut winding = 0;
            for pair in crossings.windows(2) {
                winding += pair[0].1;
                if winding != 0 && pair[1].0 > pair[0].0 {
                    add_span(&mut coverage, pair[0].0, pair[1].0);
                    left = left.min(pair[0].0 as usize);
                    right = right.max((pair[1].0.ceil() as usize).min(width as usize));
                }
            }
        }
        if left < right {
            coverage[left..right].iter_mut().for_each(|value| *value = value.min(1.0));
            paint(row, left, &coverage[left..right]);
            coverage[left..right].fill(0.0);
        }
    }
}

/// The outline of a polyline of a given thickness: one quadrilateral a segment and a disc at every inner joint, all
/// wound the same way, so that filling them together gives their union.
pub(crate) fn stroke(points: &[Point], thickness: f64) -> Vec<Vec<Point>> {
    let half = thickness / 2.0;
    let mut contours = Vec::new();
    for segment in points.windows(2) {
        let ((ax, ay), (bx, by)) = (segment[0], segment[1]);
        let length = (bx - ax).hypot(by - ay);
        if length > 0.0 {
            let (nx, ny) = (-(by - ay) / length * half, (bx - ax) / length * half);
            contours.push(vec![(ax - nx, ay - ny), (bx - nx, by - ny), (bx + nx, by + ny), (ax + nx, ay + ny)]);
        }
    }
    if points.len() > 2 && thickness > 1.0 {
        contours.extend(points[1..points.len() - 1].iter().map(|&centre| disc(centre, half)));
    }
    contours
}

/// A regular polygon that cannot be told from a circle at this radius, wound like the quadrilaterals of [`stroke`].
pub(crate) fn disc((cx, cy): Point, radius: f64) -> Vec<Point> {
    let corners = (8.0 + radius.min(10_000.0).sqrt() * 8.0) as usize;
    (0..corners)
        .map(|corner| {
            let angle = std::f64::consts::TAU * corner as f64 / corners as f64;
            (cx + radius * angle.cos(), cy + radius * angle.sin())
        })
        .collect()
}

/// Pieces of a polyline: `on` pixels drawn, `off` pixels left out.
pub(crate) fn dashes(points: &[Point], on: f64, off: f64) -> Vec<Vec<Point>> {
    let mut pieces = Vec::new();
    let (mut piece, mut left, mut drawing) = (Vec::new(), on, true);
    for segment in points.windows(2) {
        let (mut from, to) = (segment[0], segment[1]);
        loop {
            let length = (to.0 - from.0).hypot(to.1 - from.1);
            if drawing && piece.is_empty() {
                piece.push(from);
            }
            if length.is_nan() || length <= left {
                left -= length.min(left);
                if drawing {
                    piece.push(to);
                }
                break;
            }
            let share = left / length;
            from = (from.0 + (to.0 - from.0) * share, from.1 + (to.1 - from.1) * share);
            if drawing {
                if piece.last() != Some(&from) {
                    piece.push(from);
                }
                pieces.push(std::mem::take(&mut piece));
            }
            drawing = !drawing;
            left = if drawing { on } else { off };
        }
    }
    if piece.len() > 1 {
        pieces.push(piece);
    }
    pieces
}

/// The part of a segment inside `[x0, x1] x [y0, y1]` (Liang and Barsky); `None` if there is none.
pub(crate) fn clip(a: Point, b: Point, [x0, y0, x1, y1]: [f64; 4]) -> Option<(Point, Point)> {
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let (mut enter, mut leave) = (0f64, 1f64);
    for (step, room) in [(-dx, a.0 - x0), (dx, x1 - a.0), (-dy, a.1 - y0), (dy, y1 - a.1)] {
        if step == 0.0 {
            if room < 0.0 {
                return None;
            }
        } else if step < 0.0 {
            enter = enter.max(room / step);
        } else {
            leave = leave.min(room / step);
        }
    }
    let at = |share: f64| (a.0 + dx * share, a.1 + dy * share);
    // Ends that are inside come back exactly: callers join segments whose ends are equal.
    let (first, last) = (if enter > 0.0 { at(enter) } else { a }, if leave < 1.0 { at(leave) } else { b });
    (enter <= leave).then_some((first, last))
}

struct Edge {
    x0: f64,
    y0: f64,
    y1: f64,
    /// Change of x a unit of y.
    slope: f64,
    winding: i32,
}

impl Edge {
    fn x_at(&self, y: f64) -> f64 {
        self.x0 + (y - self.y0) * self.slope
    }
}

fn edges(contours: &[Vec<Point>]) -> Vec<Edge> {
    let finite = |contour: &&Vec<Point>| contour.iter().all(|(x, y)| x.is_finite() && y.is_finite());
    let near = |(x, y): Point| (x.clamp(-FAR, FAR), y.clamp(-FAR, FAR));
    let mut edges = Vec::new();
    for contour in contours.iter().filter(finite) {
        for (index, &from) in contour.iter().enumerate() {
            let (a, b) = (near(from), near(contour[(index + 1) % contour.len()]));
            let (upper, lower, winding) = if a.1 <= b.1 { (a, b, 1) } else { (b, a, -1) };
            if upper.1 < lower.1 {
                let slope = (lower.0 - upper.0) / (lower.1 - upper.1);
                edges.push(Edge { x0: upper.0, y0: upper.1, y1: lower.1, slope, winding });
            }
        }
    }
    edges
}

/// Adds one sub-row's share over `[from, to)` to the pixels it touches.
fn add_span(coverage: &mut [f32], from: f64, to: f64) {
    const SHARE: f32 = 1.0 / SUBROWS as f32;
    let (first, last) = (from as usize, to as usize);
    if first == last {
        if let Some(value) = coverage.get_mut(first) {
            *value += (to - from) as f32 * SHARE;
        }
        return;
    }
    coverage[first] += (first as f64 + 1.0 - from) as f32 * SHARE;
    coverage[first + 1..last].iter_mut().for_each(|value| *value += SHARE);
    if let Some(value) = coverage.get_mut(last) {
        *value += (to - last as f64) as f32 * SHARE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covered(contours: &[Vec<Point>], width: u32, height: u32) -> f64 {
        let mut sum = 0.0;
        fill(contours, width, height, |_, _, values| sum += values.iter().map(|&v| f64::from(v)).sum::<f64>());
        sum
    }

    #[test]
    fn coverage_adds_up_to_the_area() {
        let square = vec![(1.25, 2.0), (5.75, 2.0), (5.75, 6.5), (1.25, 6.5)];
        assert!((covered(std::slice::from_ref(&square), 10, 10) - 4.5 * 4.5).abs() < 1e-5);
        assert!((covered(&[square.clone(), square], 10, 10) - 4.5 * 4.5).abs() < 1e-5, "a union counts once");
        let circle = covered(&[disc((20.0, 20.0), 15.0)], 40, 40);
        assert!((circle / (std::f64::consts::PI * 225.0) - 1.0).abs() < 0.01, "{circle}");
    }

    #[test]
    fn a_stroke_is_as_long_and_wide_as_it_says() {
        let line = stroke(&[(5.0, 5.0), (25.0, 20.0)], 3.0);
        assert!((covered(&line, 40, 40) - 25.0 * 3.0).abs() < 0.5);
        let bent = stroke(&[(5.0, 5.0), (25.0, 5.0), (25.0, 25.0)], 4.0);
        let (arms, joint) = (2.0 * 20.0 * 4.0, std::f64::consts::PI * 4.0 / 4.0 - 4.0);
        assert!((covered(&bent, 40, 40) - arms - joint).abs() < 0.5, "arms overlap in a square, the disc rounds it");
    }

    #[test]
    fn far_and_senseless_coordinates_are_harmless() {
        let far = vec![(-1e300, -1e300), (1e300, -1e300), (1e300, 1e300), (-1e300, 1e300)];
        assert!((covered(&[far], 7, 5) - 35.0).abs() < 1e-4);
        let broken = vec![(0.0, 0.0), (f64::NAN, 3.0), (f64::INFINITY, 2.0)];
        assert_eq!(covered(&[broken, vec![], vec![(1.0, 1.0)]], 7, 5), 0.0);
    }

    #[test]
    fn dashes_alternate() {
        let pieces = dashes(&[(0.0, 0.0), (10.0, 0.0), (10.0, 5.0)], 4.0, 2.0);
        assert_eq!(pieces.len(), 3);
        assert_eq!(pieces[1], [(6.0, 0.0), (10.0, 0.0)]);
        assert_eq!(pieces[2], [(10.0, 2.0), (10.0, 5.0)]);
    }

    #[test]
    fn clipped_segments_end_on_the_border() {
        let window = [0.0, 0.0, 10.0, 10.0];
        assert_eq!(clip((-5.0, 5.0), (15.0, 5.0), window), Some(((0.0, 5.0), (10.0, 5.0))));
        assert_eq!(clip((-5.0, 12.0), (15.0, 12.0), window), None);
        let (a, b) = ((0.1, 0.2), (0.7, 9.3));
        assert_eq!(clip(a, b, window), Some((a, b)), "to the last bit");
    }
}
