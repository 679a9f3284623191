//! The one integration binary: the program as it is used.

mod layering;
mod support;
