//! The text form of a plan: stable, one line per backup.

use std::fmt;

use super::plan::{Action, Decision, RetentionPlan};

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.action {
            Action::Keep => "keep: ",
            Action::Remove => "remove: ",
        })?;
        for (position, reason) in self.reasons.iter().enumerate() {
            write!(f, "{}{reason}", if position > 0 { ", " } else { "" })?;
        }
        Ok(())
    }
}

impl fmt::Display for RetentionPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "location {} at {}", self.location, self.now)?;
        let mut removed = 0;
        let mut all = 0;
        for series in &self.series {
            writeln!(f, "series {}: {}", series.name, series.policy)?;
            for decision in &series.decisions {
                writeln!(f, "  {} {decision}", decision.name)?;
            }
            removed += series.removed().count();
            all += series.decisions.len();
        }
        writeln!(f, "keep {}, remove {removed} of {all}", all - removed)?;
        if let Some(stop) = &self.stop {
            writeln!(f, "stopped: {stop}; confirm with {}", self.digest())?;
        }
        Ok(())
    }
}
