//! Packs of detections and the engines that evaluate them.
