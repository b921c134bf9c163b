//! The text form of a plan: stable, one line per backup.

use std::fmt;

use super::plan::{Action, Decision, RetentionPlan};

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.action, &self.class) {
            (Action::Keep, None) => f.write_str("keep: ")?,
            (Action::Keep, Some(class)) => write!(f, "keep in {class}: ")?,
            (Action::Archive, class) => {
                write!(f, "archive to {}: ", class.as_deref().unwrap_or_default())?;
            }
            (Action::Remove, _) => f.write_str("remove: ")?,
        }
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
        let archived = match self.to_archive().count() {
            0 => String::new(),
            count => format!(" ({count} to be archived)"),
        };
        writeln!(
            f,
            "keep {}{archived}, remove {removed} of {all}",
            all - removed
        )?;
        if let Some(stop) = &self.stop {
            writeln!(f, "stopped: {stop}; confirm with {}", self.digest())?;
        }
        Ok(())
    }
}
