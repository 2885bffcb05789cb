//! Focus-DETR at the size of the paper: the time of the encoder, and of the whole network, against the share of tokens that is kept.
//!
//! `RAYON_NUM_THREADS=2 cargo bench -p groundling-models --bench focus_detr [--height 800 --width 1066] [--only 0.3]`. Ratios take turns, so
//! that a busy machine slows all alike; each figure is the median of the rounds. `off` is the time over what its share of the dense encoder's
//! operations would take: 1.00 is in proportion. With `GROUNDLING_PEER_PYTHON` the Deformable DETR of transformers takes turns too.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

#[path = "../models/memory.rs"]
mod memory;
#[path = "../../../groundling-kernels/benches/kernels/peer.rs"]
mod peer;

use std::time::Instant;

use burn::tensor::{Device, Distribution, Tensor};
use groundling_models::focus_detr::{EncoderConfig, FocusDetr, FocusDetrConfig, ForwardOptions, Geometry, MacCount};
use groundling_nn::checkpoint::initialise;
use groundling_nn::layers::PrepareInference;

/// As in our programs.
#[global_allocator]
static MEMORY: groundling_kernels::Recycler = groundling_kernels::Recycler::new(1 << 30);

const ROUNDS: usize = 5;
const RATIOS: [f32; 5] = [1.0, 0.5, 0.3, 0.1, 0.03];

/// One row of the table.
struct Row {
    name: String,
    options: ForwardOptions,
    dense: bool,
    macs: MacCount,
    encoder: Vec<f64>,
    whole: Vec<f64>,
}

fn main() {
    let size = [argument("--height").unwrap_or(800), argument("--width").unwrap_or(1066)];
    let only: Option<f32> = argument("--only");
    let config = FocusDetrConfig::r50();
    let focus = model(&config);
    let dense = model(&FocusDetrConfig { encoder: EncoderConfig::Dense, ..config.clone() });
    let row = |name: String, model: &FocusDetr, keep_ratio: Option<f32>, dense| Row {
        name,
        options: ForwardOptions { keep_ratio },
        dense,
        macs: model.macs(size, keep_ratio).unwrap(),
        encoder: Vec::new(),
        whole: Vec::new(),
    };
    let mut rows = vec![row("dense".to_owned(), &dense, None, true)];
    let wanted = RATIOS.into_iter().filter(|ratio| only.is_none_or(|only| only == *ratio));
    rows.extend(wanted.map(|ratio| row(format!("keep {ratio}"), &focus, Some(ratio), false)));
    let mut peer = if size == [800, 1066] { peer::Peer::start() } else { None };
    let mut theirs = Vec::new();
    let device = Device::flex();
    let image = Tensor::<4>::random([1, 3, size[0], size[1]], Distribution::Default, &device);
    let sizes = config.level_sizes(size);
    let maps: Vec<Tensor<4>> = sizes
        .iter()
        .map(|&[height, width]| Tensor::random([1, config.width, height, width], Distribution::Default, &device))
        .collect();
    for round in 0..=ROUNDS {
        for row in &mut rows {
            let model = if row.dense { &dense } else { &focus };
            let encoder = seconds(|| {
                let memory = model.encode(maps.clone(), Geometry::whole(1, &sizes), &row.options).memory;
                memory.into_data();
            });
            let whole = seconds(|| {
                model.forward(image.clone(), None, &row.options).unwrap().last().boxes.clone().into_data();
            });
            // The first round warms up.
            if round > 0 {
                row.encoder.push(encoder);
                row.whole.push(whole);
            }
        }
        let other = peer.as_mut().and_then(|peer| peer.time("focus_detr r50 800x1066", 1));
        theirs.extend(other.filter(|_| round > 0));
    }
    print(&mut rows, size);
    if !theirs.is_empty() {
        println!("Deformable DETR of transformers, 230.91 GMACs: {:.1} ms", 1e3 * median(&mut theirs));
    }
    memory::print(peer.as_mut());
}

fn print(rows: &mut [Row], [height, width]: [usize; 2]) {
    let threads = std::env::var("RAYON_NUM_THREADS").unwrap_or_else(|_| "all".to_owned());
    println!("ResNet-50, {height} x {width}, threads: {threads}");
    println!("{:<10} {:>11} {:>9} {:>6} {:>11} {:>9}", "encoder", "time", "GMACs", "off", "whole", "GMACs");
    // The selector and what it reads belong to the encoder's time, and to its count.
    let count =
        |macs: &MacCount, dense: bool| macs.encoder() + macs.selector + if dense { 0 } else { macs.transform / 2 };
    let mut per_operation = 0.0;
    for row in rows {
        let (time, operations) = (median(&mut row.encoder), count(&row.macs, row.dense) as f64);
        if row.dense {
            per_operation = time / operations;
        }
        println!(
            "{:<10} {:>8.1} ms {:>9.2} {:>6.2} {:>8.1} ms {:>9.2}",
            row.name,
            1e3 * time,
            operations / 1e9,
            time / (operations * per_operation),
            1e3 * median(&mut row.whole),
            row.macs.total() as f64 / 1e9
        );
    }
}

fn model(config: &FocusDetrConfig) -> FocusDetr {
    let device = Device::flex();
    device.seed(1);
    let mut model = config.init(&device).unwrap();
    initialise(&model);
    model.prepare_inference();
    model
}

fn argument<T: std::str::FromStr>(name: &str) -> Option<T> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1)?.parse().ok()
}

fn seconds(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64()
}

fn median(seconds: &mut [f64]) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}
