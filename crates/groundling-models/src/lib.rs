//! The systems of Groundling, and what they have in common.
//!
//! | module | what |
//! |---|---|
//! | [`contract`] | what every system takes and gives |
//! | [`catalog`] | every model that can be named |
//! | [`scanformer`] | reads a picture from coarse to fine |
//!
//! Dimension key: `B` batch, `H` height, `W` width, `L` phrase tokens, `D` model width, `G` heads, `E` = D / G, `F` feed-forward width,
//! `N` patches of a level or predictions.

pub mod catalog;
pub mod contract;
pub mod scanformer;
