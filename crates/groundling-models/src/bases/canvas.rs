//! How pictures lie on their canvas, and which cells of a feature map are padding.

use burn::tensor::{Bool, Device, Tensor, TensorData};
use groundling_core::ContentRect;

use crate::contract::{Fit, InputSpec, Resample};

/// What all three read: pictures in the middle of a canvas of `side` pixels, at most `max_ids` word pieces.
pub(crate) fn input_spec(side: usize, max_ids: usize, vocabulary: usize) -> InputSpec {
    InputSpec {
        side: u32::try_from(side).unwrap_or(u32::MAX),
        fit: Fit::LetterboxCentre,
        resample: Resample::Bilinear,
        mean: [0.485, 0.456, 0.406],
        std: [0.229, 0.224, 0.225],
        max_ids,
        vocabulary,
    }
}

/// The padding of a batch on a square map.
#[derive(Debug, Clone)]
pub struct Cells {
    /// Cells a side.
    pub side: usize,
    /// `[B * side * side]`, row by row, `true` = ignore.
    pub padding: Vec<bool>,
}

impl Cells {
    /// A cell is what its top left pixel is: nearest resize as PyTorch does it. Of a canvas of `canvas` pixels a side.
    pub fn new(contents: &[ContentRect], canvas: usize, side: usize) -> Self {
        let pixel = |index: usize| index * canvas / side;
        let padding = contents
            .iter()
            .flat_map(|content| {
                let [top, left] = [content.top as usize, content.left as usize];
                let [bottom, right] = [top + content.height as usize, left + content.width as usize];
                (0..side * side).map(move |cell| {
                    let (row, column) = (pixel(cell / side), pixel(cell % side));
                    !((top..bottom).contains(&row) && (left..right).contains(&column))
                })
            })
            .collect();
        Self { side, padding }
    }

    /// As [`Cells::new`] if padding is to be hidden, else [`Cells::all`].
    pub(crate) fn hidden_if(hide: bool, contents: &[ContentRect], canvas: usize, side: usize) -> Self {
        if hide { Self::new(contents, canvas, side) } else { Self::all(contents.len(), side) }
    }

    /// Nothing is hidden.
    pub fn all(batch: usize, side: usize) -> Self {
        Self { side, padding: vec![false; batch * side * side] }
    }

    /// Pictures of the batch.
    pub fn batch(&self) -> usize {
        self.padding.len() / (self.side * self.side).max(1)
    }

    /// Whether anything is hidden.
    pub fn any(&self) -> bool {
        self.padding.contains(&true)
    }

    /// `[B, side, side]`.
    pub fn map(&self, device: &Device) -> Tensor<3, Bool> {
        Tensor::from_data(TensorData::new(self.padding.clone(), [self.batch(), self.side, self.side]), device)
    }

    /// `[B, side * side]`, `None` if nothing is hidden.
    pub fn flat(&self, device: &Device) -> Option<Tensor<2, Bool>> {
        let shape = [self.batch(), self.side * self.side];
        self.any().then(|| Tensor::from_data(TensorData::new(self.padding.clone(), shape), device))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_its_top_left_pixel() {
        let content = ContentRect { top: 1, left: 4, height: 4, width: 4 };
        let cells = Cells::new(&[content], 8, 4);
        let valid: Vec<usize> = (0..16).filter(|&cell| !cells.padding[cell]).collect();
        assert_eq!(valid, [6, 7, 10, 11]);
        assert!(cells.any() && !Cells::all(2, 3).any());
        assert_eq!((cells.batch(), Cells::all(2, 3).batch()), (1, 2));
    }
}
