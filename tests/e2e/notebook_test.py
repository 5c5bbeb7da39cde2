"""The notebook of examples/notebook runs and says what is committed, and weir.plot draws what runs say."""

import contextlib
import sys
import unittest

import fleet

fleet.use_weir("venv_notebook", "requirements_notebook.txt")
sys.path.insert(1, str(fleet.ROOT / "examples/notebook"))
sys.path.insert(1, str(fleet.ROOT / "tests/docs"))

import docs_check  # noqa: E402
import execute  # noqa: E402
import nbformat  # noqa: E402
import numpy  # noqa: E402
from matplotlib import figure, pyplot  # noqa: E402
from weir import plot, sim  # noqa: E402

pyplot.switch_backend("Agg")
NOTEBOOK_BYTES_MAX = 400_000


def texts(document):
    """What each cell printed or returned as text."""
    return [[output.get("text", output.get("data", {}).get("text/plain", output.output_type))
             for output in cell.outputs] for cell in document.cells if cell.cell_type == "code"]


class NotebookTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.committed = nbformat.read(execute.NOTEBOOK, as_version=4)
        cls.executed = execute.executed()  # raises what a cell raises

    def test_it_says_what_is_committed(self):
        self.maxDiff = None
        self.assertEqual(texts(self.executed), texts(self.committed),
                         "commit what examples/notebook/run.sh --update writes")

    def test_nothing_warns_and_every_picture_is_there(self):
        for cell in self.executed.cells:
            for output in cell.get("outputs", ()):
                self.assertNotEqual(output.get("name"), "stderr", output.get("text"))
            if "plot." in cell.source or "plt.subplots" in cell.source:
                self.assertTrue(any("image/png" in output.get("data", {}) for output in cell.get("outputs", ())))

    def test_the_page_runs(self):
        (_, body), = docs_check.python_blocks(fleet.ROOT, "tests/e2e/notebook_test.py")
        names = {}
        with contextlib.chdir(fleet.ROOT / "examples/litellm"):  # where a pipeline.yaml is
            exec(body, names)
        self.assertEqual(len(names["run"].to_pandas()), len(names["workload"]))

    def test_it_stays_small_and_its_picture_is_that_of_the_page(self):
        self.assertLess(execute.NOTEBOOK.stat().st_size, NOTEBOOK_BYTES_MAX)
        self.assertEqual(execute.PICTURE.read_bytes(), execute.picture(self.committed))


class PlotTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        workload = sim.Workload.conversations(conversations=20, groups=3)
        cls.first = sim.Fleet(servers=3, name="first").run(workload, explain=[50])
        cls.other = sim.Fleet(servers=2, name="first").run(workload)

    def tearDown(self):
        pyplot.close("all")

    def axes(self):
        return figure.Figure().subplots()

    def test_numpy_reads_columns_in_place(self):
        column = numpy.asarray(self.first.ttft_s)
        self.assertFalse(column.flags.owndata or column.flags.writeable)
        self.assertEqual((column.dtype, column.shape), (numpy.float64, (80,)))
        frame = self.first.to_pandas()
        self.assertEqual(list(frame["server"]), self.first.server.tolist())
        self.assertEqual(list(self.first.load_to_pandas()), list(self.first.load_columns()))
        tokens = numpy.array([5, 6, 7], dtype=numpy.int64)
        workload = sim.Workload.from_records([{"tokens": tokens, "output_tokens": 1}])
        self.assertEqual(workload.prompt(0).tolist(), [5, 6, 7])

    def test_ttft_curves_end_at_one(self):
        ax = self.axes()
        self.assertIs(plot.ttft_curves([self.first, self.other], ax=ax), ax)
        self.assertEqual([line.get_label() for line in ax.lines], ["first", "first (2)"])
        self.assertEqual(ax.lines[0].get_ydata()[-1], 1)
        self.assertAlmostEqual(ax.lines[0].get_xdata()[-1], 1e3 * max(self.first.ttft_s))
        self.assertEqual([line.get_label() for line in plot.ttft_curves({"x": self.first}).lines], ["x"])
        with self.assertRaisesRegex(ValueError, "none"):
            plot.ttft_curves([])

    def test_load_has_a_line_per_server(self):
        for column in ("running_requests", "waiting_requests", "kv_used_ratio"):
            ax = plot.load(self.first, column=column, ax=self.axes())
            self.assertEqual([line.get_label() for line in ax.lines], ["s0", "s1", "s2"])
        with self.assertRaisesRegex(ValueError, "column: 'x'"):
            plot.load(self.first, column="x")

    def test_balance_adds_up(self):
        ax = plot.balance([self.first, self.other], ax=self.axes())
        work = sum(self.first.prompt_tokens) - sum(self.first.cached_tokens) + sum(self.first.output_tokens)
        self.assertAlmostEqual(1e3 * sum(bar.get_height() for bar in ax.containers[0]), work)
        self.assertEqual([len(bars) for bars in ax.containers], [3, 2])

    def test_cache_map_shows_the_map(self):
        ax = plot.cache_map(self.first)
        shown = ax.images[0].get_array() * 1e3
        self.assertTrue(numpy.allclose(shown, numpy.asarray(self.first.cache_map)))

    def test_scores_add_up_to_totals_with_the_pick_on_top(self):
        decision = self.first.decisions[50]
        ax = plot.scores(decision, ax=self.axes())
        labels = [tick.get_text() for tick in ax.get_yticklabels()]
        self.assertEqual(labels[0], f"{decision.endpoint} (picked)")
        totals = sorted((row["total"] for row in decision.explain()), reverse=True)
        drawn = [sum(bars[i].get_width() for bars in ax.containers) for i in range(3)]
        self.assertEqual([round(one, 9) for one in drawn], [round(one, 9) for one in totals])
        self.assertEqual(len(ax.containers), 3)


if __name__ == "__main__":
    unittest.main()
