//! The policies at work: the whole program before a store that errs, and what becomes of it.
