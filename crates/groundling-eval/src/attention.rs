//! Whether a model's attention lies where its answers do.
//!
//! For every phrase and layer: the attention that fell into the true box, and the IoU of the predicted box with it. For every layer:
//! Spearman's correlation of the two over all phrases. Source: Kang et al. (arXiv:2407.03243), Sec. 3, who find every correlation positive and
//! none near 1.
//!
//! Large boxes catch more attention whatever a model does, and are easier to hit. [`AttentionReport::even`] is what attention that is the same
//! everywhere would give: what a layer has beyond it is the model's own.

use serde::{Deserialize, Serialize};

use crate::correlation::spearman;
use crate::figures::percent;
use crate::report::table;

/// Name and version of the form of an [`AttentionReport`] in JSON.
pub const ATTENTION_SCHEMA: &str = "groundling.attention/1";

/// What one phrase gave.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AttentionSample {
    /// Unique in its source.
    pub id: String,
    /// The picture.
    pub image: String,
    /// The words.
    pub phrase: String,
    /// IoU of the answer with the truth.
    pub iou: f64,
    /// Share of the true box among the cells that hold some of the picture.
    pub even: f64,
    /// One for each layer.
    pub layers: Vec<LayerSample>,
}

/// What one layer gave for one phrase.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LayerSample {
    /// Attention inside the true box, 0 to 1.
    pub inside: f64,
    /// IoU of the box that the layer's token gave; that of the answer unless a model has several such tokens.
    pub iou: f64,
}

/// The figures of a data set. What is not defined is absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttentionReport {
    /// [`ATTENTION_SCHEMA`].
    pub schema: String,
    /// Phrases.
    pub count: usize,
    /// Acc@0.5, percent.
    #[serde(rename = "acc@0.5", skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// Mean IoU, percent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean_iou: Option<f64>,
    /// What attention that is the same everywhere would give.
    pub even: LayerReport,
    /// From the first.
    pub layers: Vec<LayerReport>,
}

/// The figures of a layer. What is not defined is absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerReport {
    /// `layer 3`.
    pub name: String,
    /// Spearman's correlation of attention inside the true box with IoU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rho: Option<f64>,
    /// Of "no correlation", two-sided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p_value: Option<f64>,
    /// Mean attention inside the true box.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean_inside: Option<f64>,
    /// The same over phrases with an IoU of 0.5 or more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean_inside_of_hits: Option<f64>,
    /// The same over the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mean_inside_of_misses: Option<f64>,
}

/// Samples that do not belong together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("sample {id:?} has {found} layers, expected {expected}")]
pub struct LayerCountError {
    /// The sample.
    pub id: String,
    /// Layers it has.
    pub found: usize,
    /// Layers there are names for.
    pub expected: usize,
}

impl AttentionReport {
    /// From samples whose layers have these names.
    ///
    /// # Errors
    /// If a sample has more or fewer layers.
    pub fn new(names: &[String], samples: &[AttentionSample]) -> Result<Self, LayerCountError> {
        if let Some(sample) = samples.iter().find(|sample| sample.layers.len() != names.len()) {
            let (id, found) = (sample.id.clone(), sample.layers.len());
            return Err(LayerCountError { id, found, expected: names.len() });
        }
        let layer = |(index, name): (usize, &String)| {
            let pairs: Vec<LayerSample> = samples.iter().map(|sample| sample.layers[index]).collect();
            LayerReport::new(name.clone(), &pairs)
        };
        let even: Vec<LayerSample> =
            samples.iter().map(|sample| LayerSample { inside: sample.even, iou: sample.iou }).collect();
        let hits = samples.iter().filter(|sample| sample.iou >= 0.5).count();
        Ok(Self {
            schema: ATTENTION_SCHEMA.to_owned(),
            count: samples.len(),
            accuracy: percent(hits as f64, samples.len()),
            mean_iou: percent(samples.iter().map(|sample| sample.iou).sum(), samples.len()),
            even: LayerReport::new("even attention".to_owned(), &even),
            layers: names.iter().enumerate().map(layer).collect(),
        })
    }

    /// For people: head and rows of [`AttentionReport::rows`], below the figures of all phrases.
    pub fn to_table(&self) -> String {
        let figure = |value: Option<f64>| value.map_or(table::NOT_AVAILABLE.to_owned(), |value| format!("{value:.2}%"));
        let (accuracy, iou) = (figure(self.accuracy), figure(self.mean_iou));
        let rows = std::iter::once(Self::HEAD.map(str::to_owned).to_vec()).chain(self.rows());
        format!("{} phrases, Acc@0.5 {accuracy}, mIoU {iou}\n\n{}", self.count, table::align(rows))
    }

    /// What the columns of [`AttentionReport::rows`] are.
    pub const HEAD: [&str; 6] = ["", "rho", "p", "inside", "of hits", "of misses"];

    /// A row for each layer and one for even attention, as texts.
    pub fn rows(&self) -> Vec<Vec<String>> {
        self.layers.iter().chain([&self.even]).map(LayerReport::row).collect()
    }
}

impl LayerReport {
    fn new(name: String, samples: &[LayerSample]) -> Self {
        let inside: Vec<f64> = samples.iter().map(|sample| sample.inside).collect();
        let quality: Vec<f64> = samples.iter().map(|sample| sample.iou).collect();
        let correlation = spearman(&inside, &quality);
        let mean = |of: fn(&LayerSample) -> bool| {
            let chosen: Vec<f64> = samples.iter().filter(|sample| of(sample)).map(|sample| sample.inside).collect();
            (!chosen.is_empty()).then(|| chosen.iter().sum::<f64>() / chosen.len() as f64)
        };
        Self {
            name,
            rho: correlation.map(|found| found.rho),
            p_value: correlation.and_then(|found| found.p_value),
            mean_inside: mean(|_| true),
            mean_inside_of_hits: mean(|sample| sample.iou >= 0.5),
            mean_inside_of_misses: mean(|sample| sample.iou < 0.5),
        }
    }

    fn row(&self) -> Vec<String> {
        let number = |value: Option<f64>| value.map_or(table::NOT_AVAILABLE.to_owned(), |value| format!("{value:.4}"));
        let p = self.p_value.map_or(String::new(), |p| if p < 1e-4 { "<0.0001".to_owned() } else { format!("{p:.4}") });
        let [all, hits, misses] = [self.mean_inside, self.mean_inside_of_hits, self.mean_inside_of_misses].map(number);
        vec![self.name.clone(), number(self.rho), p, all, hits, misses]
    }
}

/// Every sample on a line of comma-separated values, layers by their names: what any other statistic can be made of.
pub fn to_csv(names: &[String], samples: &[AttentionSample]) -> String {
    let layers = names.iter().flat_map(|name| [quoted(&format!("inside, {name}")), quoted(&format!("iou, {name}"))]);
    let head = ["id", "image", "phrase", "iou", "even"].map(str::to_owned).into_iter().chain(layers);
    let mut text = head.collect::<Vec<_>>().join(",") + "\n";
    for sample in samples {
        let words = [&sample.id, &sample.image, &sample.phrase].map(|word| quoted(word));
        let layers = sample.layers.iter().flat_map(|layer| [layer.inside, layer.iou]);
        let numbers = [sample.iou, sample.even].into_iter().chain(layers).map(|number| number.to_string());
        text += &words.into_iter().chain(numbers).collect::<Vec<_>>().join(",");
        text.push('\n');
    }
    text
}

/// As RFC 4180 has it.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(id: &str, iou: f64, inside: [f64; 2]) -> AttentionSample {
        let layers = inside.map(|inside| LayerSample { inside, iou }).to_vec();
        AttentionSample { id: id.into(), image: "a.png".into(), phrase: "the cup, left".into(), iou, even: 0.2, layers }
    }

    fn names() -> Vec<String> {
        vec!["layer 0".into(), "layer 1".into()]
    }

    #[test]
    fn layers_that_look_where_the_answer_is_correlate() {
        let samples = [sample("a", 0.1, [0.9, 0.1]), sample("b", 0.5, [0.5, 0.2]), sample("c", 0.9, [0.1, 0.7])];
        let report = AttentionReport::new(&names(), &samples).unwrap();
        assert_eq!((report.layers[0].rho, report.layers[1].rho), (Some(-1.0), Some(1.0)));
        assert_eq!(report.even.rho, None, "a constant has no correlation");
        assert_eq!(report.layers[1].mean_inside_of_misses, Some(0.1));
        assert!((report.layers[1].mean_inside_of_hits.unwrap() - 0.45).abs() < 1e-12);
        assert!((report.accuracy.unwrap() - 200.0 / 3.0).abs() < 1e-9);
        let table = report.to_table();
        assert!(table.contains("layer 1") && table.contains("even attention  not available"), "{table}");
        let json = serde_json::to_value(&report).unwrap();
        assert!(json["even"].get("rho").is_none(), "what is not defined is absent");
        assert_eq!(serde_json::from_value::<AttentionReport>(json).unwrap(), report);
    }

    #[test]
    fn few_samples_are_no_error_and_other_layers_are() {
        let empty = AttentionReport::new(&names(), &[]).unwrap();
        assert_eq!((empty.accuracy, empty.layers[0].mean_inside), (None, None));
        let error = AttentionReport::new(&names()[..1], &[sample("a", 0.1, [0.9, 0.1])]).unwrap_err();
        assert_eq!(error.to_string(), "sample \"a\" has 2 layers, expected 1");
    }

    #[test]
    fn the_table_of_samples_can_be_read_back() {
        let csv = to_csv(&names(), &[sample("7", 0.25, [0.5, 1.0])]);
        let expected = "id,image,phrase,iou,even,\"inside, layer 0\",\"iou, layer 0\",\"inside, layer 1\",\"iou, layer 1\"\n\
                        7,a.png,\"the cup, left\",0.25,0.2,0.5,0.25,1,0.25\n";
        assert_eq!(csv, expected);
        assert_eq!(quoted("say \"so\""), "\"say \"\"so\"\"\"");
    }
}
