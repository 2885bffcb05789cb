//! Sizes of models that their authors' checkpoints tell by names and shapes.

use groundling_models::contract::Trainable;
use groundling_models::qrnet::{QrNet, QrNetConfig};
use groundling_models::transvg::{TransVg, TransVgConfig};
use groundling_models::vltvg::{Vltvg, VltvgConfig};
use groundling_nn::checkpoint::Checkpoint;
use serde_json::Value;

/// The name of the preset and its configuration, with the longest phrase that the checkpoint has places for. `None` for other systems and for
/// checkpoints of other sizes.
///
/// A ResNet's depth is that of its third stage; places are those of the answering token, the phrase and the picture.
pub fn deduced(system: &str, checkpoint: &Checkpoint) -> Option<(&'static str, Value)> {
    let depth = |body: &str| {
        let block = |index: usize| format!("{body}.layer3.{index}.conv1.weight");
        let blocks = (0..).take_while(|&index| checkpoint.tensors().contains_key(&block(index))).count();
        [(6, "r50"), (23, "r101")].into_iter().find_map(|(known, name)| (blocks == known).then_some(name))
    };
    let words = |cells: usize| {
        let places = checkpoint.tensors().get("vl_pos_embed.weight")?.shape().first().copied()?;
        places.checked_sub(1 + cells).filter(|&words| words >= 2)
    };
    let json = |preset, config: serde_json::Result<Value>| Some((preset, config.ok()?));
    match system {
        TransVg::NAME => {
            let preset = depth("visumodel.backbone.0.body")?;
            let config = TransVgConfig::preset(preset)?;
            let max_text = words(config.grid().pow(2))?;
            json(preset, serde_json::to_value(TransVgConfig { max_text, ..config }))
        }
        Vltvg::NAME => {
            let preset = depth("backbone.0.body")?;
            json(preset, serde_json::to_value(VltvgConfig::preset(preset)?))
        }
        QrNet::NAME => {
            let config = QrNetConfig::swin_s();
            checkpoint.tensors().keys().find(|name| name.starts_with("visumodel.backbone.patch_embed."))?;
            let max_text = words(config.visual_tokens())?;
            json("swin_s", serde_json::to_value(QrNetConfig { max_text, ..config }))
        }
        _ => None,
    }
}
