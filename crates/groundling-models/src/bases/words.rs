//! Phrases through BERT.

use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use groundling_nn::bert::{Bert, BertInput};

use super::Look;

/// The phrases of a batch after BERT.
#[derive(Debug, Clone)]
pub(crate) struct Words {
    /// After the embeddings and after every layer, `[B, L, D]` each.
    pub(crate) hidden: Vec<Tensor<3>>,
    /// `[B, L]`; `None` if every token is real.
    pub(crate) padding: Option<Tensor<2, Bool>>,
}

/// The ids of one phrase, `[1, L]`.
pub(crate) fn phrase_ids(ids: &[u32], device: &Device) -> Tensor<2, Int> {
    let values: Vec<i64> = ids.iter().map(|&id| i64::from(id)).collect();
    Tensor::from_data(TensorData::new(values, [1, ids.len()]), device)
}

/// Encodes phrases of these lengths.
///
/// # Panics
/// If there is not one length for each row of ids.
pub(crate) fn encode<O: Look>(bert: &Bert, ids: Tensor<2, Int>, lengths: &[usize], look: &mut O) -> Words {
    let ([b, l], device) = (ids.dims(), ids.device());
    assert_eq!(lengths.len(), b, "a length for each phrase");
    let hidden: Vec<bool> = lengths.iter().flat_map(|&length| (0..l).map(move |index| index >= length)).collect();
    let any = hidden.contains(&true);
    let padding = Tensor::<2, Bool>::from_data(TensorData::new(hidden, [b, l]), &device);
    let output = bert.forward(BertInput { ids, types: None, padding: padding.clone() });
    for (index, hidden) in output.hidden.iter().enumerate() {
        match index.checked_sub(1) {
            None => look.see("bert.embeddings", 0, || hidden.clone()),
            Some(layer) => look.see("bert.layer.{}", layer, || hidden.clone()),
        }
    }
    Words { hidden: output.hidden, padding: any.then_some(padding) }
}
