//! Where files are.

use std::path::Path;

/// The folder that a file is in, `.` for a bare name.
pub(crate) fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_name_is_in_this_folder() {
        for (file, folder) in [("a.png", "."), ("b/a.png", "b"), ("/a.png", "/")] {
            assert_eq!(folder_of(Path::new(file)), Path::new(folder));
        }
    }
}
