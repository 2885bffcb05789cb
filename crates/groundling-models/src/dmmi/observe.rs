//! Looking inside while a model runs.

use burn::tensor::Tensor;

/// A value inside.
#[derive(Debug, Clone)]
pub struct Seen<'a> {
    /// Where it is: `stage2.residual`, `psi1`.
    pub place: &'a str,
    /// Sizes of its axes.
    pub shape: Vec<usize>,
    /// Its numbers, the last axis fastest.
    pub values: Tensor<1>,
}

/// Is told of values inside, or nobody is.
#[derive(Default)]
pub struct Observer<'a> {
    watch: Option<&'a mut dyn FnMut(Seen<'_>)>,
    prefix: String,
}

impl<'a> Observer<'a> {
    /// Nobody watches.
    pub fn none() -> Self {
        Self::default()
    }

    /// Somebody does.
    pub fn new(watch: &'a mut dyn FnMut(Seen<'_>)) -> Self {
        Self { watch: Some(watch), prefix: String::new() }
    }

    /// Whether somebody does.
    pub(super) fn watches(&self) -> bool {
        self.watch.is_some()
    }

    /// Names from here on begin so.
    pub(super) fn enter(&mut self, prefix: impl Into<String>) {
        self.prefix = prefix.into();
    }

    /// Shows a value.
    pub(super) fn see<const D: usize>(&mut self, place: &str, value: &Tensor<D>) {
        let Some(watch) = &mut self.watch else { return };
        let shape = value.dims();
        let count = shape.iter().product::<usize>();
        let place = format!("{}{place}", self.prefix);
        watch(Seen { place: &place, shape: shape.to_vec(), values: value.clone().reshape([count]) });
    }
}

impl std::fmt::Debug for Observer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observer").field("watches", &self.watches()).field("prefix", &self.prefix).finish()
    }
}
