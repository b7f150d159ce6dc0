"""How pictures are compared with their images in baseline/ by pytest-mpl, `pytest --mpl`.

The images are made with the gate's matplotlib and DejaVu Sans, which comes with it; other releases set panels and
letters elsewhere (a root mean square of 17 to 44 of 255 between 3.8 and 3.11), so there they are not compared. On
another CPU a last digit may be another, which makes below 1; one number that is gone makes 1.4 and more, a colour map
5, a title 9, a panel 17. To make them anew, and then to look at them:
`pytest tests/lens/test_images.py --mpl-generate-path=tests/lens/baseline`, and so for the other folders.
"""

import matplotlib
import pytest

pytest.importorskip("pytest_mpl", reason='needs pip install -e ".[dev]"')
MADE_WITH = "3.11"
if matplotlib.__version__.rsplit(".", 1)[0] != MADE_WITH:
    pytest.skip(f"the images are made with matplotlib {MADE_WITH}; look at new ones", allow_module_level=True)

LOOK = {"baseline_dir": "baseline", "style": "default", "tolerance": 1.2, "savefig_kwargs": {"dpi": 50}}


def only_compared(request):
    """Skip what asks for this without --mpl: nothing would be compared."""
    if not (request.config.getoption("--mpl") or request.config.getoption("--mpl-generate-path")):
        pytest.skip("images are compared under --mpl alone")
