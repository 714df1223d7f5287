"""What `llamaindex_retrieval.py` consists of: the corpus, the ways of finding passages, and how they are measured."""
