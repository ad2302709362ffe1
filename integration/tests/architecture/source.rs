//! Reads the product code of a crate: which files belong to it, and which paths each file uses.
//!
//! The files are parsed, not searched as text, so that comments, strings and code under `#[cfg(test)]` do not count.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use proc_macro2::{Ident, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree};

/// A path that a file uses, resolved as far as the file's own imports tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Use {
    /// `std::fs::read`, `crate::router::Command`, `.elapsed` (a method), or `unsafe`.
    pub(crate) path: String,
    pub(crate) line: usize,
}

/// A file that is compiled into the product.
#[derive(Debug)]
pub(crate) struct SourceFile {
    /// Relative to the repository, with `/`.
    pub(crate) path: String,
    pub(crate) uses: Vec<Use>,
}

/// All product files of the crate whose root module is `root`, relative to the repository.
pub(crate) fn product_files(repository: &Path, root: &str) -> Vec<SourceFile> {
    let mut files = Vec::new();
    let root = repository.join(root);
    let folder = root.parent().expect("a file is in a folder").to_owned();
    read_module(repository, &root, &folder, Vec::new(), &mut files);
    files
}

/// Reads a file and the modules that it declares. `children` is the folder in which these are.
fn read_module(
    repository: &Path,
    file: &Path,
    children: &Path,
    module: Vec<String>,
    files: &mut Vec<SourceFile>,
) {
    let text = std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let syntax = syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    for item in &syntax.items {
        if let Item::Mod(declared) = item
            && declared.content.is_none()
            && !is_test_only(&declared.attrs)
        {
            let name = declared.ident.to_string();
            let (file, folder) = locate(file, children, &name, &declared.attrs);
            read_module(repository, &file, &folder, [&module[..], &[name]].concat(), files);
        }
    }
    let relative = file.strip_prefix(repository).expect("the file is in the repository");
    let path = relative.to_str().expect("source files have plain names").to_owned();
    files.push(SourceFile { path, uses: uses(&syntax, module) });
}

/// The file of a module that `parent` declares, and the folder of that module's own modules.
fn locate(parent: &Path, children: &Path, name: &str, attributes: &[Attribute]) -> (PathBuf, PathBuf) {
    let folder = children.join(name);
    if let Some(path) = attributes.iter().find_map(path_attribute) {
        return (parent.with_file_name(path), folder);
    }
    let beside = children.join(format!("{name}.rs"));
    if beside.is_file() { (beside, folder) } else { (folder.join("mod.rs"), folder) }
}

/// The value of `#[path = "..."]`.
fn path_attribute(attribute: &Attribute) -> Option<String> {
    let pair = attribute.meta.require_name_value().ok().filter(|pair| pair.path.is_ident("path"))?;
    let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) = &pair.value else {
        return None;
    };
    Some(text.value())
}

fn is_test_only(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let list = attribute.meta.require_list().ok().filter(|list| list.path.is_ident("cfg"));
        list.is_some_and(|list| list.tokens.to_string() == "test")
    })
}

/// The paths that the product part of a parsed file uses. `module` is where the file is in its crate.
pub(crate) fn uses(syntax: &syn::File, module: Vec<String>) -> Vec<Use> {
    let mut collector = Collector { module, imports: HashMap::new(), found: Vec::new() };
    // Twice: a path may come before the import that explains it.
    collector.visit_file(syntax);
    collector.found.clear();
    collector.visit_file(syntax);
    collector.found
}

struct Collector {
    module: Vec<String>,
    /// What each imported name stands for.
    imports: HashMap<String, Vec<String>>,
    found: Vec<Use>,
}

impl Collector {
    fn add(&mut self, segments: Vec<String>, line: usize) {
        // The receiver of a method, not a module.
        if segments == ["self"] {
            return;
        }
        let path = self.resolve(segments).join("::");
        self.found.push(Use { path, line });
    }

    fn resolve(&self, segments: Vec<String>) -> Vec<String> {
        let supers = segments.iter().take_while(|segment| *segment == "super").count();
        let first = segments.first().map(String::as_str);
        if supers > 0 || first == Some("self") {
            let parent = &self.module[..self.module.len().saturating_sub(supers)];
            let rest = &segments[supers.max(1)..];
            return [&["crate".to_owned()], parent, rest].concat();
        }
        match first.and_then(|name| self.imports.get(name)) {
            Some(import) => [&import[..], &segments[1..]].concat(),
            None => segments,
        }
    }

    fn add_import(&mut self, tree: &UseTree, mut before: Vec<String>) {
        match tree {
            UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.add_import(&path.tree, before);
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.add_import(tree, before.clone());
                }
            }
            UseTree::Name(name) if name.ident == "self" => {
                let known_as = before.last().cloned().unwrap_or_default();
                self.add_leaf(before, known_as, &name.ident);
            }
            UseTree::Name(name) => {
                before.push(name.ident.to_string());
                self.add_leaf(before, name.ident.to_string(), &name.ident);
            }
            UseTree::Rename(name) => {
                if name.ident != "self" {
                    before.push(name.ident.to_string());
                }
                self.add_leaf(before, name.rename.to_string(), &name.ident);
            }
            UseTree::Glob(glob) => {
                before.push("*".to_owned());
                let line = glob.star_token.spans[0].start().line;
                self.add(before, line);
            }
        }
    }

    fn add_leaf(&mut self, path: Vec<String>, known_as: String, at: &Ident) {
        // An import explains names of others, but not itself: `use bytes::Bytes` after `use wire::bytes` would.
        self.imports.remove(&known_as);
        let path = self.resolve(path);
        self.found.push(Use { path: path.join("::"), line: at.span().start().line });
        self.imports.insert(known_as, path);
    }

    /// Macros get tokens, not paths: takes each run of names that are joined by `::`, each method call, and `unsafe`.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let mut run: Vec<String> = Vec::new();
        let mut line = 0;
        let mut colons = 0;
        let mut follows_dot = false;
        for token in tokens {
            match token {
                TokenTree::Ident(name) => {
                    if colons != 2 {
                        self.end_run(&mut run, line);
                        line = name.span().start().line;
                    }
                    if name == "unsafe" {
                        self.found.push(Use { path: "unsafe".to_owned(), line });
                    } else if follows_dot {
                        self.found.push(Use { path: format!(".{name}"), line });
                    } else {
                        run.push(name.to_string());
                    }
                    (colons, follows_dot) = (0, false);
                }
                TokenTree::Punct(mark) if mark.as_char() == ':' => colons += 1,
                other => {
                    self.end_run(&mut run, line);
                    follows_dot = matches!(&other, TokenTree::Punct(mark) if mark.as_char() == '.');
                    colons = 0;
                    if let TokenTree::Group(group) = other {
                        self.add_tokens(group.stream());
                    }
                }
            }
        }
        self.end_run(&mut run, line);
    }

    fn end_run(&mut self, run: &mut Vec<String>, line: usize) {
        if !run.is_empty() {
            self.add(std::mem::take(run), line);
        }
    }
}

impl<'ast> Visit<'ast> for Collector {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Const(of) => &of.attrs,
            Item::Fn(of) => &of.attrs,
            Item::Impl(of) => &of.attrs,
            Item::Mod(of) => &of.attrs,
            Item::Static(of) => &of.attrs,
            Item::Struct(of) => &of.attrs,
            Item::Use(of) => &of.attrs,
            _ => return visit::visit_item(self, item),
        };
        if !is_test_only(attributes) {
            visit::visit_item(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !is_test_only(&function.attrs) {
            visit::visit_impl_item_fn(self, function);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.add_import(&item.tree, Vec::new());
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if let Some(first) = path.segments.first() {
            self.add(segments, first.ident.span().start().line);
        }
        visit::visit_path(self, path);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        let line = call.method.span().start().line;
        self.found.push(Use { path: format!(".{}", call.method), line });
        visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_unsafe(&mut self, block: &'ast syn::ExprUnsafe) {
        let line = block.unsafe_token.span.start().line;
        self.found.push(Use { path: "unsafe".to_owned(), line });
        visit::visit_expr_unsafe(self, block);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        visit::visit_macro(self, call);
        self.add_tokens(call.tokens.clone());
    }
}
