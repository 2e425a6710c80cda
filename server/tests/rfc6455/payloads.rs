//! Texts and byte strings for the cases of UTF-8 and of closing.

/// Valid UTF-8: what it is, and the bytes.
pub const VALID: [(&str, &[u8]); 14] = [
    ("letters with accents", "ação".as_bytes()),
    ("the word κόσμε", "κόσμε".as_bytes()),
    ("a NUL", b"\0"),
    ("the last of one byte", b"\x7f"),
    ("the first of two bytes", b"\xc2\x80"),
    ("the last of two bytes", b"\xdf\xbf"),
    ("the first of three bytes", b"\xe0\xa0\x80"),
    ("the last before the surrogates", b"\xed\x9f\xbf"),
    ("the first behind the surrogates", b"\xee\x80\x80"),
    ("a byte order mark", b"\xef\xbb\xbf"),
    ("a noncharacter, U+FFFF", b"\xef\xbf\xbf"),
    ("the first of four bytes", b"\xf0\x90\x80\x80"),
    ("the last there is, U+10FFFF", b"\xf4\x8f\xbf\xbf"),
    ("an emoji of several scalar values", "👩‍👧".as_bytes()),
];

/// Invalid UTF-8.
pub const INVALID: [(&str, &[u8]); 24] = [
    ("a continuation byte alone, first", b"\x80"),
    ("a continuation byte alone, last", b"\xbf"),
    ("two continuation bytes", b"\x80\xbf"),
    ("a start of two bytes alone", b"\xc3"),
    ("a start of two bytes and a space", b"\xc3 "),
    ("a start of three bytes, one missing", b"\xe2\x82"),
    ("a start of four bytes, one missing", b"\xf0\x9f\x91"),
    ("a start of four bytes and a letter", b"\xf0x"),
    ("a start of five bytes", b"\xf8\x88\x80\x80\x80"),
    ("a start of six bytes", b"\xfc\x84\x80\x80\x80\x80"),
    ("the impossible byte FE", b"\xfe"),
    ("the impossible byte FF", b"\xff"),
    ("a slash in two bytes", b"\xc0\xaf"),
    ("a slash in three bytes", b"\xe0\x80\xaf"),
    ("a slash in four bytes", b"\xf0\x80\x80\xaf"),
    ("the longest overlong two bytes", b"\xc1\xbf"),
    ("the longest overlong three bytes", b"\xe0\x9f\xbf"),
    ("the longest overlong four bytes", b"\xf0\x8f\xbf\xbf"),
    ("a NUL in two bytes", b"\xc0\x80"),
    ("the first surrogate", b"\xed\xa0\x80"),
    ("the last surrogate", b"\xed\xbf\xbf"),
    ("a pair of surrogates", b"\xed\xa0\x80\xed\xb0\x80"),
    ("one above U+10FFFF", b"\xf4\x90\x80\x80"),
    ("text with one wrong byte in it", b"ol\xe1, mundo"),
];

/// Codes a close frame may carry.
pub const CODES: [u16; 14] =
    [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4998, 4999];

/// Codes that never travel.
pub const FORBIDDEN_CODES: [u16; 13] =
    [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535];
