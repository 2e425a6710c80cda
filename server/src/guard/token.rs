//! Tokens: who may come in. Only their digests are kept, and they are compared in constant time, so that neither
//! a core dump nor the time of an answer tells one.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{PoisonError, RwLock};

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// Fewer characters could be guessed.
const MIN_TOKEN_CHARACTERS: usize = 16;

/// Longer than this nobody's token is; a client's longer one is refused without a look at it.
pub const MAX_TOKEN_CHARACTERS: usize = 512;

type TokenDigest = [u8; 32];

/// Why a file of tokens can't be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It can't be read.
    #[error("could not read the tokens in {}: {source}; check --token-file", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// It holds none, which would let nobody in.
    #[error("{} holds no token; --token-file needs one on a line of its own", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A line is no token. What stands there is not repeated: it may be a secret.
    #[error("line {line} of {}, named by --token-file, is no token: {problem}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        problem: TokenProblem,
    },
}

/// Why a text is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenProblem {
    /// It could be guessed.
    #[error(
        "a token needs at least {MIN_TOKEN_CHARACTERS} characters (openssl rand -hex 32 makes a good one)"
    )]
    TooShort,
    /// It would not fit where it must.
    #[error("a token has at most {MAX_TOKEN_CHARACTERS} characters")]
    TooLong,
    /// It could not be sent as `Authorization: Bearer` (RFC 6750).
    #[error("a token is made of letters, digits and - . _ ~ + / =")]
    Character,
}

/// The tokens that open the server, read from a file and again when told to.
pub struct Tokens {
    path: PathBuf,
    digests: RwLock<Vec<TokenDigest>>,
}

impl Tokens {
    /// Reads a file: a token a line; empty lines and those that begin with `#` are passed over.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn from_file(path: &Path) -> Result<Self, TokenError> {
        let digests = read(path)?;
        Ok(Self { path: path.to_owned(), digests: RwLock::new(digests) })
    }

    /// Reads the file again. From then on only what it holds opens the server; who is in stays in. With an error
    /// everything stays as it was.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn reload(&self) -> Result<usize, TokenError> {
        let digests = read(&self.path)?;
        let count = digests.len();
        // A lock is poisoned by a panic while it is held; nothing here panics, and the list is whole at every moment.
        *self.digests.write().unwrap_or_else(PoisonError::into_inner) = digests;
        Ok(count)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.digests.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether this is one of them. Takes the same time whichever it is, and however much of it is right.
    pub fn check(&self, token: &[u8]) -> bool {
        if token.len() > MAX_TOKEN_CHARACTERS {
            return false;
        }
        let digest: TokenDigest = Sha256::digest(token).into();
        let known = self.digests.read().unwrap_or_else(PoisonError::into_inner);
        known.iter().fold(Choice::from(0), |found, known| found | known.ct_eq(&digest)).into()
    }
}

// By hand, so that not even a digest gets into a log.
impl fmt::Debug for Tokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Tokens")
            .field("path", &self.path)
            .field("count", &self.count())
            .finish_non_exhaustive()
    }
}

fn read(path: &Path) -> Result<Vec<TokenDigest>, TokenError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| TokenError::Unreadable { path: path.to_owned(), source })?;
    let tokens = parse_tokens(&text).map_err(|(line, problem)| TokenError::Line {
        path: path.to_owned(),
        line,
        problem,
    })?;
    if tokens.is_empty() {
        return Err(TokenError::Empty { path: path.to_owned() });
    }
    Ok(tokens.into_iter().map(|token| Sha256::digest(token).into()).collect())
}

/// The tokens in the text of a file.
///
/// # Errors
/// The number of the first line that is none, and why.
pub fn parse_tokens(text: &str) -> Result<Vec<&str>, (usize, TokenProblem)> {
    let lines = text.lines().enumerate().map(|(at, line)| (at + 1, line.trim()));
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, token)| check_form(token).map_err(|problem| (number, problem)))
        .collect()
}

fn check_form(token: &str) -> Result<&str, TokenProblem> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if !token.bytes().all(is_allowed) {
        return Err(TokenProblem::Character);
    }
    match token.len() {
        0..MIN_TOKEN_CHARACTERS => Err(TokenProblem::TooShort),
        MIN_TOKEN_CHARACTERS..=MAX_TOKEN_CHARACTERS => Ok(token),
        _ => Err(TokenProblem::TooLong),
    }
}

/// The token in the value of an `Authorization` header.
pub fn bearer(authorization: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = authorization.split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then(|| token.trim_ascii()).filter(|token| !token.is_empty())
}

/// The token in a request target's query: `?token=`.
pub fn query_token(target: &str) -> Option<Vec<u8>> {
    let (_, query) = target.split_once('?')?;
    let value = query.split('&').find_map(|pair| pair.strip_prefix("token="))?;
    Some(percent_encoding::percent_decode_str(value).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "first-token-0123456789";
    const SECOND: &str = "c2Vjb25kIHRva2Vu+/==";

    #[test]
    fn a_file_is_read_and_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        std::fs::write(&path, format!("# who: the dashboard\n{FIRST}\n\n  {SECOND}\r\n")).unwrap();
        let tokens = Tokens::from_file(&path).unwrap();
        assert_eq!(tokens.count(), 2);
        assert!(tokens.check(FIRST.as_bytes()) && tokens.check(SECOND.as_bytes()));
        for wrong in ["", "first-token-012345678", "first-token-01234567890", "# who: the dashboard"] {
            assert!(!tokens.check(wrong.as_bytes()), "{wrong}");
        }
        assert!(!tokens.check(&[b'x'; MAX_TOKEN_CHARACTERS + 1]));

        std::fs::write(&path, SECOND).unwrap();
        assert_eq!(tokens.reload().unwrap(), 1);
        assert!(!tokens.check(FIRST.as_bytes()) && tokens.check(SECOND.as_bytes()));
        std::fs::write(&path, "short").unwrap();
        let error = tokens.reload().unwrap_err().to_string();
        assert!(error.contains("line 1") && !error.contains("short"), "{error}");
        assert!(tokens.check(SECOND.as_bytes()), "what can't be read changes nothing");
        assert!(!format!("{tokens:?}").contains(SECOND));
    }

    #[test]
    fn a_file_without_good_tokens_says_what_is_wrong_but_not_what_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        for (text, words) in [
            ("", "holds no token"),
            ("# only words\n\n", "holds no token"),
            ("\nsecretsecret", "line 2"),
            ("secret secret secret", "letters, digits"),
            ("geheimnisvöllig-secret", "letters, digits"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = Tokens::from_file(&path).unwrap_err().to_string();
            assert!(error.contains(words) && error.contains("--token-file"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
        let error = Tokens::from_file(&folder.path().join("absent")).unwrap_err().to_string();
        assert!(error.contains("--token-file") && error.contains("absent"), "{error}");
    }

    #[test]
    fn tokens_are_found_where_clients_put_them() {
        assert_eq!(bearer(b"Bearer abc"), Some(&b"abc"[..]));
        assert_eq!(bearer(b"bearer  abc "), Some(&b"abc"[..]));
        for none in [&b"Basic abc"[..], b"Bearer", b"Bearer ", b"", b"bearerabc"] {
            assert_eq!(bearer(none), None);
        }
        assert_eq!(query_token("/ws/crash?since=1&token=a%2Bb%2F%3D"), Some(b"a+b/=".to_vec()));
        assert_eq!(query_token("/ws/crash?token=a+b"), Some(b"a+b".to_vec()));
        assert_eq!(query_token("/ws/crash?token="), Some(Vec::new()));
        assert_eq!(query_token("/ws/crash?mytoken=x"), None);
        assert_eq!(query_token("/ws/token=x"), None);
    }
}
