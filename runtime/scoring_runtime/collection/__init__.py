"""Data collection: a sample of what is asked and answered, as JSON Lines or Parquet in a folder of the user's.

Little of it is imported, and no request does more than look at None, unless SCORING_DATA_COLLECTION_URI is set.
"""
