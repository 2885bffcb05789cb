//! Properties of position encodings; their values are compared in `parity`.

use burn::tensor::{Bool, Device, Tensor};
use groundling_nn::position::{LearnedPosition2d, SineBox, SinePosition2d, sine_1d};

use crate::numbers::{assert_near, list, tracked, uniform};

#[test]
fn a_cell_is_encoded_by_its_place_among_the_real_ones() {
    let device = Device::flex();
    let full = Tensor::<3, Bool>::from_data([[[false; 3]; 2]], &device);
    // The same six cells with padding around them.
    let framed = Tensor::<3, Bool>::from_data(
        [[[true; 5], [true, false, false, false, true], [true, false, false, false, true], [true; 5]]],
        &device,
    );
    for encoding in [SinePosition2d::DETR, SinePosition2d::DEFORMABLE, SinePosition2d::FOCUS_LONG] {
        let alone = encoding.forward(full.clone());
        assert_eq!(alone.dims(), [1, 256, 2, 3]);
        let inside = encoding.forward(framed.clone()).slice([0..1, 0..256, 1..3, 1..4]);
        assert_near("cells", inside, alone, 0.0);
    }
    let everything_padded = SinePosition2d::DEFORMABLE.forward(Tensor::<3, Bool>::from_data([[[true; 3]; 2]], &device));
    assert!(list(everything_padded).iter().all(|value| value.abs() <= 1.0));
}

#[test]
fn rows_and_columns_make_a_map_without_padding() {
    let device = Device::flex();
    let (height, width) = (3, 5);
    let padding = Tensor::<3, Bool>::from_data([[[false; 5]; 3]], &device);
    let plain = SinePosition2d { normalise: false, ..SinePosition2d::DETR };
    for encoding in [SinePosition2d::DETR, SinePosition2d::DEFORMABLE, SinePosition2d::FOCUS_LONG, plain] {
        let [rows, columns] = encoding.whole(height, width, &device);
        let cells = [encoding.features, height, width];
        let rows = rows.swap_dims(0, 1).reshape([encoding.features, height, 1]).expand(cells);
        let columns = columns.swap_dims(0, 1).reshape([encoding.features, 1, width]).expand(cells);
        let made = Tensor::cat(vec![rows, columns], 0).unsqueeze_dim::<4>(0);
        assert_near("cells", made, encoding.forward(padding.clone()), 0.0);
    }
}

#[test]
fn the_formula_for_a_few_channels() {
    let device = Device::flex();
    let padding = Tensor::<3, Bool>::from_data([[[false; 4]; 3]], &device);
    let encoding = SinePosition2d { features: 4, temperature: 100.0, offset: -0.5, normalise: true };
    let got = list(encoding.forward(padding));
    let tau = std::f64::consts::TAU;
    for row in 0..3 {
        for column in 0..4 {
            let y = (row as f64 + 0.5) / (3.0 + 1e-6) * tau;
            let x = (column as f64 + 0.5) / (4.0 + 1e-6) * tau;
            let want = [
                y.sin(),
                y.cos(),
                (y / 10.0).sin(),
                (y / 10.0).cos(),
                x.sin(),
                x.cos(),
                (x / 10.0).sin(),
                (x / 10.0).cos(),
            ];
            for (channel, want) in want.iter().enumerate() {
                let got = f64::from(got[channel * 12 + row * 4 + column]);
                assert!((got - want).abs() < 2e-6, "{channel} {row} {column}: {got} not {want}");
            }
        }
    }
}

#[test]
fn places_of_a_sequence() {
    let got = list(sine_1d(3, 4, 10_000.0, &Device::flex()));
    let want: Vec<f64> = (0..3)
        .flat_map(|i| {
            let i = f64::from(i);
            [i.sin(), i.cos(), (i / 100.0).sin(), (i / 100.0).cos()]
        })
        .collect();
    assert!(got.iter().zip(want).all(|(got, want)| (f64::from(*got) - want).abs() < 1e-6));
}

#[test]
fn one_number_is_encoded_alone_and_gradients_reach_it() {
    let device = tracked();
    let boxes = uniform("position.boxes", [2, 3, 4], 0.0, 1.0, &device).require_grad();
    let dab = SineBox::DAB.forward(boxes.clone());
    assert_eq!(dab.dims(), [2, 3, 512]);
    let plain = SineBox { y_first: false, ..SineBox::DAB }.forward(boxes.clone());
    assert_near("x", dab.clone().narrow(2, 128, 128).inner(), plain.clone().narrow(2, 0, 128).inner(), 0.0);
    assert_near("y", dab.clone().narrow(2, 0, 128).inner(), plain.clone().narrow(2, 128, 128).inner(), 0.0);
    assert_near("sizes", dab.clone().narrow(2, 256, 256).inner(), plain.narrow(2, 256, 256).inner(), 0.0);
    let gradient = boxes.grad(&dab.sum().backward()).unwrap();
    assert!(list(gradient).iter().all(|value| *value != 0.0));
}

#[test]
fn learned_positions_are_a_sum_of_two_tables() {
    let device = tracked();
    let learned = LearnedPosition2d::new(10, 12, 3, &device);
    let map = learned.forward(4, 5);
    assert_eq!(map.dims(), [1, 6, 4, 5]);
    let (x, y) = (learned.col_embed.val(), learned.row_embed.val());
    assert_eq!((x.dims(), y.dims()), ([12, 3], [10, 3]));
    for (row, column) in [(0, 0), (3, 4), (2, 1)] {
        let cell: Tensor<1> = map.clone().slice([0..1, 0..6, row..row + 1, column..column + 1]).reshape([6]);
        let want: Tensor<1> =
            Tensor::cat(vec![x.clone().narrow(0, column, 1).reshape([3]), y.clone().narrow(0, row, 1).reshape([3])], 0);
        assert_near("cell", cell.inner(), want.inner(), 0.0);
    }
    let gradients = map.sum().backward();
    assert_eq!(list(learned.row_embed.val().grad(&gradients).unwrap()).iter().filter(|v| **v != 0.0).count(), 12);
}
