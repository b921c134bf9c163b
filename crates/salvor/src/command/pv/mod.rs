//! `pv`: volumes of a cluster that have no claim, and giving one to a claim.

pub(super) mod rebind;
pub(super) mod released;

use salvor_volume::claims::seen::SeenError;

use crate::exit::{Exit, Failure};

impl From<SeenError> for Failure {
    fn from(error: SeenError) -> Self {
        let doing = error.to_string();
        match error {
            SeenError::Read { source } => Self::from(source).while_doing(&doing),
            error @ SeenError::Malformed { .. } => Self::caused(Exit::Internal, "", error),
        }
    }
}
