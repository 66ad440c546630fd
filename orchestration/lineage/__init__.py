"""Who was made from what: data versions read from Dagster's events, which are the truth.

`events` reads and writes the events; `version_index` finds them by md5; `targets` says what a person means by a word;
`graph` follows the md5s down to the sources, `tree` and `drawing` show it; `photos` goes the other way, from a photo to
the models; `ledger` keeps what was forgotten.
"""

from orchestration.storage.versions import VERSION_TAG, Version, git_commit, latest, observe

__all__ = ["VERSION_TAG", "Version", "git_commit", "latest", "observe"]
