//! Names of users and groups, from the files that every Unix has.

use std::collections::HashMap;

/// Names by number; empty where there are none, as in most containers.
#[derive(Clone, Debug, Default)]
pub struct Owners {
    users: HashMap<u32, String>,
    groups: HashMap<u32, String>,
}

impl Owners {
    /// Those of this machine. Files that cannot be read are as if they were empty: names are a comment, the
    /// numbers decide.
    #[must_use]
    pub fn of_this_machine() -> Self {
        let read = |path| {
            std::fs::read_to_string(path).map_or_else(|_| HashMap::new(), |text| parse(&text))
        };
        Self {
            users: read("/etc/passwd"),
            groups: read("/etc/group"),
        }
    }

    /// A user's name, or nothing.
    #[must_use]
    pub fn user(&self, uid: u32) -> String {
        self.users.get(&uid).cloned().unwrap_or_default()
    }

    /// A group's name, or nothing.
    #[must_use]
    pub fn group(&self, gid: u32) -> String {
        self.groups.get(&gid).cloned().unwrap_or_default()
    }
}

/// `name:password:number:...`; the first name of a number counts.
fn parse(text: &str) -> HashMap<u32, String> {
    let mut names = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(_), Some(number)) = (fields.next(), fields.next(), fields.next())
            && let Ok(number) = number.parse()
        {
            names.entry(number).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_of_a_number_counts_and_nonsense_is_passed_over() {
        let names = parse("root:x:0:0\ntoor:x:0:0\n\nbroken\nbad:x:y\n한글:x:7:");
        assert_eq!(names.get(&0).map(String::as_str), Some("root"));
        assert_eq!(names.get(&7).map(String::as_str), Some("한글"));
        assert_eq!(names.len(), 2);
    }
}
