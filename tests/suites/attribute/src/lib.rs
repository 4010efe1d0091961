//! `#[attribute::test]` in the place of `#[test]`: the function's body becomes a coroutine.
#![forbid(unsafe_code)]

use proc_macro::{Delimiter, Group, TokenStream, TokenTree};

/// Makes a test of a function, and runs it on a coroutine of one worker, every libc function replaced.
#[proc_macro_attribute]
pub fn test(_: TokenStream, item: TokenStream) -> TokenStream {
    let mut tokens: Vec<TokenTree> = item.into_iter().collect();
    let Some(body) = tokens.pop() else { return TokenStream::new() };
    let is_fn = |token: &TokenTree| matches!(token, TokenTree::Ident(word) if word.to_string() == "fn");
    let Some(start) = tokens.iter().position(is_fn) else { return TokenStream::new() };
    // The same signature under another name, inside.
    let mut inner = tokens[start..].to_vec();
    inner[1] = TokenTree::Ident(proc_macro::Ident::new("body_of_the_test", inner[1].span()));
    let mut whole: TokenStream = inner.into_iter().collect();
    whole.extend([body]);
    let call: TokenStream = "::harness::run(body_of_the_test)".parse().expect("a call");
    whole.extend(call);
    let mut all: TokenStream = "#[::core::prelude::v1::test]".parse().expect("an attribute");
    all.extend(tokens);
    all.extend([TokenTree::Group(Group::new(Delimiter::Brace, whole))]);
    all
}
