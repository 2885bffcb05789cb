//! A model of any system behind one face.

use std::any::Any;
use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use groundling_core::ContentRect;
use groundling_data::image::preprocess::Prepared;
use groundling_models::contract::{GroundOptions, Grounded, OptionError, System};

/// A phrase or a picture as a model keeps it.
pub(crate) type Reading = Arc<dyn Any + Send + Sync>;

/// What sessions need of a model. Readings go back to the engine that made them and to no other.
pub(crate) trait Engine: Send + Sync {
    fn read_phrase(&self, ids: &[u32]) -> Reading;
    fn read_canvas(&self, prepared: Prepared) -> Reading;
    /// Reads a phrase and answers it, which takes less than one after the other.
    fn ground_new(
        &self,
        ids: &[u32],
        view: &Reading,
        options: &GroundOptions,
    ) -> Result<(Reading, Grounded), OptionError>;
    fn ground(&self, pairs: &[(&Reading, &Reading)], options: &GroundOptions) -> Result<Vec<Grounded>, OptionError>;
}

/// A system with its types forgotten.
pub(crate) struct Erased<M> {
    pub(crate) model: M,
    pub(crate) device: Device,
}

impl<M> Engine for Erased<M>
where
    M: System + Sync,
    M::Phrase: Sync + 'static,
    M::View: Sync + 'static,
{
    fn read_phrase(&self, ids: &[u32]) -> Reading {
        Arc::new(self.model.read_phrase(ids))
    }

    fn read_canvas(&self, prepared: Prepared) -> Reading {
        let (canvas, content) = (prepared.placement.canvas(), prepared.placement.content());
        let shape = [1, 3, canvas.height() as usize, canvas.width() as usize];
        let canvas = Tensor::from_data(TensorData::new(prepared.pixels, shape), &self.device);
        Arc::new(self.read(canvas, content))
    }

    fn ground_new(
        &self,
        ids: &[u32],
        view: &Reading,
        options: &GroundOptions,
    ) -> Result<(Reading, Grounded), OptionError> {
        let (phrase, grounded) = self.model.ground_new(ids, typed(view), options)?;
        Ok((Arc::new(phrase), grounded))
    }

    fn ground(&self, pairs: &[(&Reading, &Reading)], options: &GroundOptions) -> Result<Vec<Grounded>, OptionError> {
        let pairs: Vec<(&M::Phrase, &M::View)> =
            pairs.iter().map(|(phrase, view)| (typed(phrase), typed(view))).collect();
        match pairs[..] {
            [(phrase, view)] => Ok(vec![self.model.ground(phrase, view, options)?]),
            _ => self.model.ground_batch(&pairs, options),
        }
    }
}

impl<M: System> Erased<M> {
    fn read(&self, canvas: Tensor<4>, content: ContentRect) -> M::View {
        self.model.read_canvas(canvas, content)
    }
}

fn typed<T: 'static>(reading: &Reading) -> &T {
    reading.downcast_ref().expect("a reading goes back to the engine that made it: sessions hold their grounder")
}
