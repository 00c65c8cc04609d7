//! JSON Patch operations (RFC 6902), chosen one by one against the raw document and tried as they are chosen: what is
//! handed out has been seen to apply. Never a diff, and never a typed round trip, which would delete fields that our
//! types don't know.

use json_patch::jsonptr::{PointerBuf, Token};
use json_patch::{AddOperation, Patch, PatchError, PatchOperation, RemoveOperation};
use serde_json::Value;

/// A document with the operations that were made on it so far.
#[derive(Debug)]
pub(crate) struct Edit {
    document: Value,
    operations: Vec<PatchOperation>,
}

/// A pointer: names are escaped (`/` becomes `~1`), numbers are places in a list.
pub(crate) fn at(steps: &[Token<'_>]) -> PointerBuf {
    PointerBuf::from_tokens(steps)
}

impl Edit {
    pub fn new(document: &Value) -> Self {
        Edit { document: document.clone(), operations: Vec::new() }
    }

    /// As it stands after the operations so far.
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// The patch, and the document that it makes.
    pub fn finish(self) -> (Patch, Value) {
        (Patch(self.operations), self.document)
    }

    /// Puts a value into an object, or before a place in a list.
    pub fn add(&mut self, path: PointerBuf, value: Value) -> Result<(), PatchError> {
        self.apply(PatchOperation::Add(AddOperation { path, value }))
    }

    pub fn remove(&mut self, path: PointerBuf) -> Result<(), PatchError> {
        self.apply(PatchOperation::Remove(RemoveOperation { path }))
    }

    /// Makes sure that a parent is there: `add` needs one.
    pub fn ensure(&mut self, path: PointerBuf, empty: Value) -> Result<(), PatchError> {
        match self.document.pointer(path.as_str()) {
            None | Some(Value::Null) => self.add(path, empty),
            Some(_) => Ok(()),
        }
    }

    /// Removes a list or object that nothing is left in.
    pub fn remove_if_empty(&mut self, path: PointerBuf) -> Result<(), PatchError> {
        match self.document.pointer(path.as_str()) {
            Some(Value::Array(list)) if list.is_empty() => self.remove(path),
            Some(Value::Object(object)) if object.is_empty() => self.remove(path),
            _ => Ok(()),
        }
    }

    /// Removes what may not be there.
    pub fn remove_if_there(&mut self, path: PointerBuf) -> Result<(), PatchError> {
        if self.document.pointer(path.as_str()).is_some() { self.remove(path) } else { Ok(()) }
    }

    fn apply(&mut self, operation: PatchOperation) -> Result<(), PatchError> {
        json_patch::patch(&mut self.document, std::slice::from_ref(&operation))?;
        self.operations.push(operation);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_patch_makes_the_document_that_was_seen() {
        let before = json!({"metadata": {"labels": null}, "list": [1]});
        let mut edit = Edit::new(&before);
        edit.ensure(at(&["metadata".into(), "labels".into()]), json!({})).unwrap();
        edit.add(at(&["metadata".into(), "labels".into(), "a.b/c~d".into()]), json!("x")).unwrap();
        edit.add(at(&["list".into(), 0.into()]), json!(0)).unwrap();
        edit.remove(at(&["list".into(), 1.into()])).unwrap();
        edit.remove_if_there(at(&["nowhere".into()])).unwrap();
        let (patch, after) = edit.finish();
        assert_eq!(after, json!({"metadata": {"labels": {"a.b/c~d": "x"}}, "list": [0]}));
        assert_eq!(patch.0[1].path().as_str(), "/metadata/labels/a.b~1c~0d");
        let mut again = before;
        json_patch::patch(&mut again, &patch).unwrap();
        assert_eq!(again, after);
    }

    #[test]
    fn an_operation_that_does_not_apply_is_an_error_and_leaves_no_trace() {
        let mut edit = Edit::new(&json!({"a": 1}));
        assert!(edit.add(at(&["b".into(), "c".into()]), json!(1)).is_err());
        assert!(edit.remove(at(&["b".into()])).is_err());
        assert_eq!(edit.finish(), (Patch(vec![]), json!({"a": 1})));
    }
}
