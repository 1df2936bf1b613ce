//! The modules stand on floors, and no import goes up or across.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The floor of each module, as `docs/architecture.md` lists them.
fn floors(root: &Path) -> HashMap<String, usize> {
    let text = fs::read_to_string(root.join("docs/architecture.md")).unwrap();
    let list = text.split("\n\n").find(|part| part.starts_with("1. ")).expect("a numbered list of floors");
    let mut floors = HashMap::new();
    let mut floor = 0;
    for line in list.lines() {
        if !line.starts_with(' ') {
            floor = line.split('.').next().unwrap().parse().unwrap();
        }
        for name in line.split('`').skip(1).step_by(2).filter(|name| !name.contains('/')) {
            assert_eq!(floors.insert(name.to_string(), floor), None, "{name} is listed twice");
        }
    }
    floors
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { sources(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .collect()
}

#[test]
fn no_module_imports_from_its_own_floor_or_above() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let floors = floors(root);
    let of = |module: &str| {
        *floors.get(module).unwrap_or_else(|| panic!("docs/architecture.md lists no {module}"))
    };
    let src = root.join("src");
    let mut imports = 0;
    for path in sources(&src) {
        let inside = path.strip_prefix(&src).unwrap();
        let module = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        if ["main", "lib"].contains(&module) {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        // Tests may look anywhere.
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let code = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        for part in code.flat_map(|line| line.split("crate::").skip(1)) {
            let used: String = part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            assert!(!used.is_empty(), "{}: import each module by itself", inside.display());
            imports += 1;
            assert!(
                used == module || of(&used) < of(module),
                "{}: {module} (floor {}) imports from {used} (floor {})",
                inside.display(),
                of(module),
                of(&used)
            );
        }
    }
    assert!(imports > 300, "only {imports} imports were found");
}
