//! TransVG and VLTVG beside a ResNet-50 of torchvision, BERT of transformers and PyTorch's own encoder layers; DMMI beside timm's Swin-B,
//! the same BERT and PyTorch's layers for the rest of it, and beside the two encoders alone.

use burn::tensor::{Device, Distribution, Tensor};
use groundling_core::ContentRect;
use groundling_models::contract::{GroundOptions, System};
use groundling_models::dmmi::{Dmmi, DmmiConfig};
use groundling_models::transvg::{TransVg, TransVgConfig};
use groundling_models::vltvg::{Vltvg, VltvgConfig};

use crate::{Case, Work};

pub(crate) fn groups() -> Vec<Vec<Case>> {
    vec![
        vec![("transvg r50 640", Box::new(|| ground::<TransVg>(&TransVgConfig::r50())) as _)],
        vec![("vltvg r50 640", Box::new(|| ground::<Vltvg>(&VltvgConfig::r50())) as _)],
        vec![("dmmi swin_b 480", Box::new(|| ground::<Dmmi>(&DmmiConfig::swin_b())) as _)],
        vec![("dmmi swin_b 480, encoders alone", Box::new(|| ground::<Dmmi>(&DmmiConfig::swin_b())) as _)],
    ]
}

/// A phrase of 20 pieces and a picture that fills the canvas, read and answered.
fn ground<S: System + 'static>(config: &S::Config) -> Work {
    let device = Device::flex();
    device.seed(1);
    let mut model = S::init(config, &device).unwrap();
    model.prepare_inference();
    let side = S::input(config).side;
    let canvas = Tensor::<4>::random([1, 3, side as usize, side as usize], Distribution::Uniform(-1.0, 1.0), &device);
    let content = ContentRect { top: 0, left: 0, height: side, width: side };
    let ids: Vec<u32> = [101].into_iter().chain(2000..2018).chain([102]).collect();
    Box::new(move || {
        let (phrase, view) = (model.read_phrase(&ids), model.read_canvas(canvas.clone(), content));
        drop(model.ground(&phrase, &view, &GroundOptions::default()).unwrap());
    })
}
