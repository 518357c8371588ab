"""Style sheets and scripts that the outputs of a page share."""

from nbformat import v4

from cnncourse.pipeline.page_assets import share_assets


def shared(*pages: str) -> list[str]:
    outputs = [v4.new_output("display_data", {"text/html": page, "text/plain": "<style>a</style>"}) for page in pages]
    notebook = v4.new_notebook(cells=[v4.new_code_cell("x", outputs=[output]) for output in outputs])
    share_assets(notebook)
    assert all(cell.outputs[0].data["text/plain"] == "<style>a</style>" for cell in notebook.cells)
    return [cell.outputs[0].data["text/html"] for cell in notebook.cells]


def test_a_style_sheet_is_kept_once():
    assert shared("<style>a</style>1<style>b</style>", "<style>a</style>2", "<style>\nb</style>3") == [
        "<style>a</style>1<style>b</style>", "2", "<style>\nb</style>3",
    ]  # fmt: skip


def test_a_script_is_kept_at_its_first_and_its_last_place():
    one, two = "<script>\none()</script>", "<script>two()</script>"
    assert shared(one + "1" + one, one + "2", two + "3", one + "4") == [one + "1", "2", two + "3", one + "4"]


def test_a_script_with_attributes_is_not_touched():
    data = '<script type="application/json">{}</script>'
    assert shared(data, data) == [data, data]


def test_outputs_without_html_stay():
    notebook = v4.new_notebook(cells=[v4.new_code_cell("x", outputs=[v4.new_output("stream", text="<style>")])])
    share_assets(notebook)
    assert notebook.cells[0].outputs[0].text == "<style>"
