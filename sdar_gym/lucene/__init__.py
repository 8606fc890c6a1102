"""Terms of English text as Lucene indexes them: what shops and passages are searched by."""
