"""A page and an HTTP interface, on this machine only.

Enter: a model, and requests from a browser or from any client that speaks OpenAI's interface. Leave: answers within
limits of size and time, or one line that says what was expected. Needs the extra `explore` (Starlette and uvicorn).
To read: connections (one client's line, within limits of time), guard (who may ask, and how much); of the page: packed
(arrays as JSON), asked (what a request says), models (which may be asked for), views (of one pass), writing (of
choosing, of two passes), answers (a request -> an answer), app (the server), bundle (the page's files as one), export
(a page in one file), inline (in a notebook); of the interface: sequences (one text among others), metrics (what was
done), batching (the thread that computes), api_asked (JSON -> what is asked), api_answers (texts -> JSON), api_stream
(from one to the other), api (OpenAI's routes).
"""

from .guard import guarded, run

__all__ = ["guarded", "run"]
