"""The Hugging Face token: who gets it, and what a refusal of the hub means for the operator."""

from __future__ import annotations

from yarl import URL

HUB_HOSTS = frozenset({"huggingface.co", "www.huggingface.co", "hf.co"})
"""Exact hosts: no ending of a name is trusted, and the CDN that a download is redirected to needs no token."""


def bearer(url: URL, token: str | None) -> str | None:
    """The Authorization header for one request: the token for the hub over https, nothing for anybody else."""
    if token and url.scheme == "https" and url.port == 443 and url.raw_host in HUB_HOSTS:
        return f"Bearer {token}"
    return None


def remedy(status: int, url: URL, *, has_token: bool) -> str:
    """What an operator can do about a 401 or 403."""
    if url.raw_host not in HUB_HOSTS:
        return "the link asks for credentials or has expired; hf_token goes to Hugging Face alone, so use a signed link"
    if not has_token:
        return "no token: set hf_token, or HF_TOKEN, to one that may read this model"
    if status == 401:
        return "hf_token (or HF_TOKEN) is not accepted: set a valid one"
    return "the token of hf_token (or HF_TOKEN) may not read it: accept the model's licence on its page"
