//! `repo init` and `repo key`.

use salvor_repository::{FileId, InitOptions, Repository, keys as slots};
use salvor_seal::{KeyMaterial, RepositoryKey};
use salvor_text::Table;

use super::password::{self, Asked, Source};
use super::{blocking, files, holder, open, work};
use crate::args::repository::{
    InitArgs, KeyAddArgs, KeyGenerateArgs, KeyRemoveArgs, KeyRotateArgs, OnlyArgs,
    PasswordShowArgs, WorkArg,
};
use crate::exit::{Exit, Failure};
use crate::session::Session;

/// Creates a repository.
pub(super) async fn init(args: &InitArgs, session: &Session) -> Result<Exit, Failure> {
    let files = files(&args.repository, session).await?;
    let place = files.place();
    let given = password::of(&args.repository, session, Asked::Twice).await?;
    let kind = if given.is_random {
        WorkArg::Machine
    } else {
        args.password_kind
    };
    let options = options(kind, args.restic_boundaries);
    let password = given.password;
    let made = blocking(move || Repository::init(files, &password, &options)).await?;
    let text = session.messages.repository_made(&place, &made.config().id);
    session.printer.result(&format!("{text}\n"))?;
    session.printer.note(&session.messages.keep_the_password());
    Ok(Exit::Done)
}

/// Prints the password of a domain.
pub(super) async fn show_password(
    args: &PasswordShowArgs,
    session: &Session,
) -> Result<Exit, Failure> {
    let domain = password::domain(&args.repository)?;
    let domain = domain.as_str();
    let source = Source::of(&args.repository.password, session).await?;
    let Source::Material(material) = source else {
        return Err(Failure::usage(
            "the password of a domain follows from a key, and none was given",
        )
        .hint("name the key with --key-file, or take it with --key-from-cluster"));
    };
    session
        .printer
        .remark(&session.messages.password_will_be_shown(domain));
    session.confirm(args.confirm.yes, domain).await?;
    let password = material.password_of(domain);
    session
        .printer
        .result(&format!("{}\n", password.expose()))?;
    Ok(Exit::Done)
}

/// Writes a new key.
pub(super) fn generate(args: &KeyGenerateArgs, session: &Session) -> Result<Exit, Failure> {
    let key = RepositoryKey::generate()
        .map_err(|error| Failure::caused(Exit::Internal, "make a key", error))?;
    crate::command::private_file::create(&args.file, key.to_text().expose())?;
    let path = args.file.display().to_string();
    let text = session.messages.key_file_written(&path);
    session.printer.result(&format!("{text}\n"))?;
    session.printer.note(&session.messages.keep_the_password());
    Ok(Exit::Done)
}

fn options(kind: WorkArg, restic_boundaries: bool) -> InitOptions {
    let holder = holder();
    InitOptions {
        work: work(kind),
        who: (holder.username, holder.hostname),
        restic_boundaries,
    }
}

/// Lists the key slots.
pub(super) async fn list(args: &OnlyArgs, session: &Session) -> Result<Exit, Failure> {
    let repository = open(&args.repository, session).await?;
    let slots = blocking(move || repository.keys()).await?;
    let mut table = Table::new(&["KEY", "USER", "HOST", "CREATED", "IN USE"]);
    for slot in slots {
        let id = slot.id.to_string();
        if let Some(why) = &slot.damage {
            let text = session.messages.key_unreadable(&id[..12], why);
            session.printer.warning(&text);
        }
        table.row(&[
            &id[..12],
            &slot.username,
            &slot.hostname,
            slot.damage.as_deref().map_or(&*slot.created, |_| "damaged"),
            if slot.is_current { "yes" } else { "" },
        ]);
    }
    session.printer.result(&table.to_string())?;
    Ok(Exit::Done)
}

/// Adds a password.
pub(super) async fn add(args: &KeyAddArgs, session: &Session) -> Result<Exit, Failure> {
    let new = password::from_file(&args.new_password_file)?;
    let repository = open(&args.repository, session).await?;
    let options = options(args.password_kind, false);
    let id = blocking(move || repository.add_key(&new, &options)).await?;
    let text = session.messages.key_added(&id.to_string()[..12]);
    session.printer.result(&format!("{text}\n"))?;
    Ok(Exit::Done)
}

/// Puts a new password in the place of the old one.
pub(super) async fn rotate(args: &KeyRotateArgs, session: &Session) -> Result<Exit, Failure> {
    let (new, kind) = match (&args.new_key_file, &args.new_password_file) {
        (Some(path), _) => {
            let domain = password::domain(&args.repository)?;
            let key = KeyMaterial::Key(password::key_from_file(path)?);
            (key.password_of(domain.as_str()), WorkArg::Machine)
        }
        (None, Some(path)) => (password::from_file(path)?, args.password_kind),
        (None, None) => return Err(Failure::usage("name the new password or key")),
    };
    let files = files(&args.repository, session).await?;
    let old = password::of(&args.repository, session, Asked::Once).await?;
    if !args.keep_old {
        let place = files.place();
        let text = session.messages.old_password_will_go(&place);
        session.printer.remark(&text);
        session.confirm(args.confirm.yes, &place).await?;
    }
    let (options, keep_old) = (options(kind, false), args.keep_old);
    let rotated =
        blocking(move || slots::rotate(&files, &old.password, &new, &options, keep_old)).await?;
    let key = &rotated.key.to_string()[..12];
    let text = session.messages.key_rotated(key, rotated.removed.len());
    session.printer.result(&format!("{text}\n"))?;
    for key in &rotated.kept {
        let text = session.messages.key_kept(&key.to_string()[..12]);
        session.printer.warning(&text);
    }
    Ok(if rotated.kept.is_empty() {
        Exit::Done
    } else {
        Exit::Partial
    })
}

/// Removes a password.
pub(super) async fn remove(args: &KeyRemoveArgs, session: &Session) -> Result<Exit, Failure> {
    let repository = open(&args.repository, session).await?;
    let slots = {
        let repository = std::sync::Arc::clone(&repository);
        blocking(move || repository.keys()).await?
    };
    let matching: Vec<FileId> = slots
        .iter()
        .map(|slot| slot.id)
        .filter(|id| !args.key.is_empty() && id.to_string().starts_with(&args.key))
        .collect();
    let [id] = matching.as_slice() else {
        let text = format!(
            "{} keys have an id that begins with `{}`",
            matching.len(),
            args.key
        );
        return Err(Failure::new(Exit::NotFound, text).hint("see them with `salvor repo key list`"));
    };
    let short = id.to_string()[..12].to_owned();
    session.confirm(args.confirm.yes, &short).await?;
    let id = *id;
    blocking(move || repository.remove_key(&id)).await?;
    let text = session.messages.key_removed(&short);
    session.printer.result(&format!("{text}\n"))?;
    Ok(Exit::Done)
}
