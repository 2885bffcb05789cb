//! Outlines of objects as signed distances, and their anti-aliased coverage of pixels.
//!
//! A distance is in pixels, negative inside, and never changes faster than the place it is taken at (it is 1-Lipschitz).
//! So a scan can jump over pixels that are surely inside or outside: see [`Silhouette::scan`]. Only `+ - * /` and square
//! roots are used, which every machine rounds alike; sine and cosine are ours for the same reason.

use groundling_core::ImageSize;

use super::vocabulary::Shape;

/// The outline of one object, placed in an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Silhouette {
    form: Form,
    left: f64,
    top: f64,
    right: f64,
    bottom: f64,
}

#[derive(Debug, Clone, PartialEq)]
enum Form {
    Disc {
        at: Point,
        radius: f64,
    },
    Ring {
        at: Point,
        outer: f64,
        inner: f64,
    },
    /// A disc without another one.
    Crescent {
        at: Point,
        radius: f64,
        cut_at: Point,
        cut_radius: f64,
    },
    /// The part of a disc behind a line; `normal` points to the missing part.
    HalfDisc {
        at: Point,
        radius: f64,
        normal: Point,
    },
    Polygon(Vec<Point>),
}

type Point = (f64, f64);

/// Where an object lies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pose {
    /// Centre as (x, y) in pixels; pixel column `j` covers `[j, j + 1)`.
    pub centre: (f64, f64),
    /// Nominal radius in pixels; no point of the shape is farther than [`MAX_REACH`] radii from the centre.
    pub radius: f64,
    /// Clockwise rotation in degrees.
    pub rotation: f64,
}

/// How far a shape reaches from its centre, in radii.
pub const MAX_REACH: f64 = 1.3;

/// Pixels `start..end` of a row that share a distance class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Span {
    pub(crate) row: u32,
    pub(crate) start: u32,
    pub(crate) end: u32,
    /// Signed distance in pixels at the pixel centre; for a span of several pixels an upper bound that is deeper inside
    /// than the band asked for.
    pub(crate) distance: f64,
}

/// The part of an image a scan looks at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Band {
    /// Pixels farther outside than this are not visited.
    pub(crate) outside: f64,
    /// Pixels deeper inside than this are visited as spans.
    pub(crate) inside: f64,
    /// Everything moved by (x, y) pixels, for shadows.
    pub(crate) shift: (f64, f64),
}

impl Silhouette {
    /// The outline of a shape.
    pub fn new(shape: Shape, pose: Pose) -> Self {
        let placing = Placing::new(pose);
        let form = match shape {
            Shape::Circle => Form::Disc { at: pose.centre, radius: pose.radius },
            Shape::Ring => Form::Ring { at: pose.centre, outer: pose.radius * 1.04, inner: pose.radius * 0.50 },
            Shape::Crescent => Form::Crescent {
                at: placing.point((0.22, 0.0)),
                radius: pose.radius * 1.14,
                cut_at: placing.point((0.70, 0.0)),
                cut_radius: pose.radius * 0.94,
            },
            Shape::Semicircle => Form::HalfDisc {
                at: placing.point((0.0, 0.52)),
                radius: pose.radius * 1.16,
                normal: placing.direction((0.0, 1.0)),
            },
            Shape::Ellipse => Form::Polygon((0..48).map(|i| placing.on_ellipse(i, 48, 1.22, 0.68)).collect()),
            Shape::Square => {
                Form::Polygon(placing.points(&[(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)]))
            }
            Shape::Rectangle => {
                Form::Polygon(placing.points(&[(-1.15, -0.58), (1.15, -0.58), (1.15, 0.58), (-1.15, 0.58)]))
            }
            Shape::Triangle => Form::Polygon((0..3).map(|i| placing.on_star(2 * i, 6, 1.18, 1.18, 0.18)).collect()),
            Shape::Pentagon => Form::Polygon((0..5).map(|i| placing.on_star(2 * i, 10, 1.06, 1.06, 0.05)).collect()),
            Shape::Hexagon => Form::Polygon((0..6).map(|i| placing.on_star(2 * i, 12, 1.05, 1.05, 0.0)).collect()),
            Shape::Star => Form::Polygon((0..10).map(|i| placing.on_star(i, 10, 1.2, 0.52, 0.06)).collect()),
            Shape::Cross => Form::Polygon(placing.points(&CROSS)),
            Shape::Arrow => Form::Polygon(placing.points(&ARROW)),
            Shape::Heart => Form::Polygon((0..48).map(|i| placing.on_heart(i, 48)).collect()),
        };
        Self::around(form, pose)
    }

    fn around(form: Form, pose: Pose) -> Self {
        let reach = MAX_REACH * pose.radius;
        let (x, y) = pose.centre;
        let mut this = Self { form, left: x - reach, top: y - reach, right: x + reach, bottom: y + reach };
        if let Form::Polygon(points) = &this.form {
            this.left = points.iter().map(|p| p.0).fold(f64::INFINITY, f64::min);
            this.right = points.iter().map(|p| p.0).fold(f64::NEG_INFINITY, f64::max);
            this.top = points.iter().map(|p| p.1).fold(f64::INFINITY, f64::min);
            this.bottom = points.iter().map(|p| p.1).fold(f64::NEG_INFINITY, f64::max);
        }
        this
    }

    /// Signed distance in pixels from a point to the outline, negative inside. Near corners that two curves make, the
    /// value may be closer to 0 than the true distance, never farther.
    pub fn distance(&self, x: f64, y: f64) -> f64 {
        let to = |at: Point| length(x - at.0, y - at.1);
        match &self.form {
            Form::Disc { at, radius } => to(*at) - radius,
            Form::Ring { at, outer, inner } => {
                let from_centre = to(*at);
                (from_centre - outer).max(inner - from_centre)
            }
            Form::Crescent { at, radius, cut_at, cut_radius } => (to(*at) - radius).max(cut_radius - to(*cut_at)),
            Form::HalfDisc { at, radius, normal } => {
                (to(*at) - radius).max((x - at.0) * normal.0 + (y - at.1) * normal.1)
            }
            Form::Polygon(points) => polygon_distance(points, x, y),
        }
    }

    /// How much of a pixel the object covers, 0 to 1: `0.5 - distance` at the pixel centre, cut to that range. An object
    /// owns the pixels that it covers by at least one half.
    pub fn coverage(&self, row: u32, column: u32) -> f64 {
        coverage_at(self.distance(f64::from(column) + 0.5, f64::from(row) + 0.5))
    }

    /// Visits the pixels of a band around and inside the object, row by row, left to right.
    pub(crate) fn scan(&self, size: ImageSize, band: Band, mut visit: impl FnMut(Span)) {
        let (dx, dy) = band.shift;
        let margin = band.outside + 1.0;
        let columns = clip(self.left + dx - margin, self.right + dx + margin, size.width());
        for row in clip(self.top + dy - margin, self.bottom + dy + margin, size.height()) {
            let y = f64::from(row) + 0.5 - dy;
            let mut column = columns.start;
            while column < columns.end {
                let distance = self.distance(f64::from(column) + 0.5 - dx, y);
                // A quarter of a pixel of slack keeps rounding out of the question.
                let sure = if distance > band.outside {
                    distance - band.outside - 0.25
                } else {
                    -distance - band.inside - 0.25
                };
                let next = (column + 1 + sure.max(0.0) as u32).min(columns.end);
                if distance <= band.outside {
                    let distance = if sure >= 1.0 { -band.inside } else { distance };
                    visit(Span { row, start: column, end: next, distance });
                }
                column = next;
            }
        }
    }
}

/// Coverage from a signed distance; see [`Silhouette::coverage`].
pub(crate) fn coverage_at(distance: f64) -> f64 {
    (0.5 - distance).clamp(0.0, 1.0)
}

fn clip(low: f64, high: f64, side: u32) -> std::ops::Range<u32> {
    // Casts saturate: a negative start becomes 0.
    (low.floor() as u32).min(side)..(high.ceil() as u32).min(side)
}

const CROSS: [Point; 12] = [
    (-0.36, -1.08),
    (0.36, -1.08),
    (0.36, -0.36),
    (1.08, -0.36),
    (1.08, 0.36),
    (0.36, 0.36),
    (0.36, 1.08),
    (-0.36, 1.08),
    (-0.36, 0.36),
    (-1.08, 0.36),
    (-1.08, -0.36),
    (-0.36, -0.36),
];

const ARROW: [Point; 7] =
    [(1.24, 0.0), (0.22, -0.92), (0.22, -0.38), (-1.14, -0.38), (-1.14, 0.38), (0.22, 0.38), (0.22, 0.92)];

/// Puts points of the unit shape (y down, unrotated) into the image.
struct Placing {
    pose: Pose,
    cos: f64,
    sin: f64,
}

impl Placing {
    fn new(pose: Pose) -> Self {
        let (sin, cos) = sin_cos(pose.rotation / 360.0);
        Self { pose, cos, sin }
    }

    fn direction(&self, (x, y): Point) -> Point {
        (x * self.cos - y * self.sin, x * self.sin + y * self.cos)
    }

    fn point(&self, at: Point) -> Point {
        let (x, y) = self.direction(at);
        (self.pose.centre.0 + self.pose.radius * x, self.pose.centre.1 + self.pose.radius * y)
    }

    fn points(&self, at: &[Point]) -> Vec<Point> {
        at.iter().map(|&point| self.point(point)).collect()
    }

    fn on_ellipse(&self, step: u32, steps: u32, x_radius: f64, y_radius: f64) -> Point {
        let (sin, cos) = sin_cos(f64::from(step) / f64::from(steps));
        self.point((x_radius * cos, y_radius * sin))
    }

    /// Even steps lie on the outer radius, odd ones on the inner, the first at the top; `down` centres the figure.
    fn on_star(&self, step: u32, steps: u32, outer: f64, inner: f64, down: f64) -> Point {
        let (sin, cos) = sin_cos(f64::from(step) / f64::from(steps));
        let radius = if step.is_multiple_of(2) { outer } else { inner };
        self.point((radius * sin, down - radius * cos))
    }

    /// The well-known heart: x = 16 sin^3 t, y = 13 cos t - 5 cos 2t - 2 cos 3t - cos 4t.
    fn on_heart(&self, step: u32, steps: u32) -> Point {
        let turn = f64::from(step) / f64::from(steps);
        let cos_of = |multiple: f64| sin_cos(turn * multiple).1;
        let sin = sin_cos(turn).0;
        let up = 13.0 * cos_of(1.0) - 5.0 * cos_of(2.0) - 2.0 * cos_of(3.0) - cos_of(4.0);
        self.point((16.0 * sin * sin * sin / 15.2, -(up + 2.6) / 15.2))
    }
}

fn length(x: f64, y: f64) -> f64 {
    (x * x + y * y).sqrt()
}

/// Distance to the nearest edge, signed by the even-odd rule.
fn polygon_distance(points: &[Point], x: f64, y: f64) -> f64 {
    let mut nearest = f64::INFINITY;
    let mut inside = false;
    let Some(&(mut x1, mut y1)) = points.last() else { return f64::INFINITY };
    for &(x0, y0) in points {
        let (edge_x, edge_y) = (x1 - x0, y1 - y0);
        let (to_x, to_y) = (x - x0, y - y0);
        let along = ((to_x * edge_x + to_y * edge_y) / (edge_x * edge_x + edge_y * edge_y)).clamp(0.0, 1.0);
        let (off_x, off_y) = (to_x - edge_x * along, to_y - edge_y * along);
        nearest = nearest.min(off_x * off_x + off_y * off_y);
        if (y0 > y) != (y1 > y) && (to_x * edge_y < edge_x * to_y) == (edge_y > 0.0) {
            inside = !inside;
        }
        (x1, y1) = (x0, y0);
    }
    if inside { -nearest.sqrt() } else { nearest.sqrt() }
}

/// Sine and cosine of an angle in turns, from a Taylor series on an eighth of a turn: the same bits on every machine.
pub(crate) fn sin_cos(turns: f64) -> (f64, f64) {
    let quarters = (turns * 4.0).round();
    let angle = (turns - quarters / 4.0) * std::f64::consts::TAU;
    let square = angle * angle;
    let series = |first: f64| {
        let (mut term, mut sum) = (1.0, 1.0);
        for step in 0..9 {
            let n = first + 2.0 * f64::from(step);
            term *= -square / (n * (n + 1.0));
            sum += term;
        }
        sum
    };
    let (sin, cos) = (angle * series(2.0), series(1.0));
    match (quarters as i64).rem_euclid(4) {
        0 => (sin, cos),
        1 => (cos, -sin),
        2 => (-sin, -cos),
        _ => (-cos, sin),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pose(rotation: f64) -> Pose {
        Pose { centre: (30.3, 29.6), radius: 20.0, rotation }
    }

    #[test]
    fn sine_and_cosine_are_right() {
        for step in -720..720 {
            let turns = f64::from(step) / 360.0 + 1e-4;
            let (sin, cos) = sin_cos(turns);
            let angle = turns * std::f64::consts::TAU;
            assert!((sin - angle.sin()).abs() < 1e-14 && (cos - angle.cos()).abs() < 1e-14, "{turns}");
        }
        assert_eq!(sin_cos(0.25), (1.0, 0.0));
    }

    #[test]
    fn distances_never_change_faster_than_the_place() {
        for shape in Shape::ALL {
            let silhouette = Silhouette::new(shape, pose(17.0));
            for i in 0..60 {
                for j in 0..60 {
                    let (x, y) = (f64::from(i), f64::from(j));
                    let here = silhouette.distance(x, y);
                    for (dx, dy) in [(1.0, 0.0), (0.0, 1.0), (0.4, 0.3)] {
                        let moved: f64 = length(dx, dy);
                        let change = (silhouette.distance(x + dx, y + dy) - here).abs();
                        assert!(change <= moved + 1e-9, "{shape} at ({x}, {y}): {change}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_scan_sees_every_pixel_of_the_band_once() {
        let size = ImageSize::new(64, 57).unwrap();
        for shape in Shape::ALL {
            let silhouette = Silhouette::new(shape, pose(211.0));
            let mut seen = vec![0; 64 * 57];
            silhouette.scan(size, Band { outside: 0.5, inside: 2.0, shift: (0.0, 0.0) }, |span| {
                for column in span.start..span.end {
                    seen[(span.row * 57 + column) as usize] += 1;
                    let distance = silhouette.distance(f64::from(column) + 0.5, f64::from(span.row) + 0.5);
                    if span.end - span.start > 1 {
                        assert!(distance <= -2.0 && span.distance == -2.0, "{shape}");
                    } else {
                        assert!(distance == span.distance || distance <= -2.0, "{shape}");
                    }
                }
            });
            for row in 0..64 {
                for column in 0..57 {
                    let covered = silhouette.coverage(row, column) > 0.0;
                    let count = seen[(row * 57 + column) as usize];
                    assert!(count == u32::from(covered) || (count <= 1 && !covered), "{shape} {row} {column}");
                }
            }
        }
    }

    #[test]
    fn shapes_are_centred_and_of_like_size() {
        let size = ImageSize::new(200, 200).unwrap();
        for shape in Shape::ALL {
            let silhouette = Silhouette::new(shape, Pose { centre: (100.0, 100.0), radius: 60.0, rotation: 0.0 });
            let (mut area, mut left, mut top, mut right, mut bottom) = (0, 200, 200, 0, 0);
            silhouette.scan(size, Band { outside: 0.0, inside: 1.0, shift: (0.0, 0.0) }, |span| {
                area += span.end - span.start;
                (left, right) = (left.min(span.start), right.max(span.end));
                (top, bottom) = (top.min(span.row), bottom.max(span.row + 1));
            });
            let (width, height) = (f64::from(right - left), f64::from(bottom - top));
            let offset =
                ((f64::from(left + right) / 2.0 - 100.0) / 60.0, (f64::from(top + bottom) / 2.0 - 100.0) / 60.0);
            assert!(offset.0.abs() < 0.12 && offset.1.abs() < 0.12, "{shape} is off centre by {offset:?} radii");
            let extent = (width * height).sqrt() / 120.0;
            assert!((0.80..1.18).contains(&extent), "{shape} measures {extent} radii");
            let farthest = 2.0 * 60.0 * MAX_REACH;
            assert!(width <= farthest && height <= farthest, "{shape}");
            assert!(f64::from(area) > 0.9 * 60.0 * 60.0, "{shape} has area {area}");
        }
    }
}
