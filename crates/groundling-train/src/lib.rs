//! Training: from a recipe to a weights folder.
//!
//! A [`recipe`] says everything that decides the result. The same recipe on the same machine gives the same weights, bit for bit,
//! however many threads prepare batches and however often the run is killed and resumed.
//!
//! # Map
//!
//! | module | what |
//! |---|---|
//! | [`recipe`] | TOML to typed sections, overrides, curriculum |
//! | [`run`] | the loop: steps, evaluations, states, weights, and [`Observer`](run::Observer) to watch it |
//! | [`task`] | what differs between phrases, objects, classes and whatever comes next |
//! | [`batches`], [`order`] | what the model is shown, as a pure function of the recipe and the step |
//! | [`phrases`], [`sample`] | the task of systems: a picture, a phrase and what it refers to |
//! | [`objects`] | the task of detectors: a picture and all objects of known classes |
//! | [`classes`] | the task of classifiers: a picture and its class |
//! | [`attention`] | phrases with losses on attention: AttBalance |
//! | [`optimizer`], [`schedule`] | AdamW and Muon on the host, learning rates |
//! | [`evaluate`](mod@evaluate) | figures through the inference path |
//! | [`state`] | everything needed to go on, in one file that is replaced at once |
//! | [`weights`] | weights to start from, weights that are published |
//! | [`log`] | JSON lines |
//! | [`usage`] | processor time and memory of this process |

pub mod attention;
pub mod batches;
pub mod classes;
pub mod evaluate;
pub mod log;
mod names;
pub mod objects;
pub mod optimizer;
pub mod order;
pub mod phrases;
pub mod recipe;
pub mod run;
pub mod sample;
pub mod schedule;
pub mod state;
pub mod task;
pub mod usage;
pub mod weights;
