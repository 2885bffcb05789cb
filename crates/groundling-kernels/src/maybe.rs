//! An optional tensor as an argument of an extension.

use burn::backend::{Backend, Dispatch, ExtensionType, tensor::FloatTensor};
use burn::tensor::Tensor;

/// A tensor or none. burn's extension macro knows no `Option` among arguments.
#[derive(ExtensionType, Debug)]
pub enum MaybeTensor<B: Backend> {
    /// There is one.
    Given(FloatTensor<B>),
    /// There is none.
    Absent,
}

// Derived, it would ask for `B: Clone`, which says nothing about the tensor.
impl<B: Backend> Clone for MaybeTensor<B> {
    fn clone(&self) -> Self {
        match self {
            Self::Given(tensor) => Self::Given(tensor.clone()),
            Self::Absent => Self::Absent,
        }
    }
}

impl<B: Backend> MaybeTensor<B> {
    /// As an `Option`.
    pub fn into_option(self) -> Option<FloatTensor<B>> {
        match self {
            Self::Given(tensor) => Some(tensor),
            Self::Absent => None,
        }
    }

    /// As an `Option` of a borrowed tensor.
    pub fn as_option(&self) -> Option<&FloatTensor<B>> {
        match self {
            Self::Given(tensor) => Some(tensor),
            Self::Absent => None,
        }
    }
}

impl<B: Backend> From<Option<FloatTensor<B>>> for MaybeTensor<B> {
    fn from(tensor: Option<FloatTensor<B>>) -> Self {
        tensor.map_or(Self::Absent, Self::Given)
    }
}

/// From what the public functions take to what the dispatch takes.
pub(crate) fn dispatch<const D: usize>(tensor: Option<Tensor<D>>) -> MaybeTensor<Dispatch> {
    tensor.map_or(MaybeTensor::Absent, |tensor| MaybeTensor::Given(tensor.into_dispatch()))
}
