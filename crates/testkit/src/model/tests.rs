//! The model itself: what goes over the wire, what is found wrong, and the persona that it can play.
mod rules;
mod visits;
mod wire;
