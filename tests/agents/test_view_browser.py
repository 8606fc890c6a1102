"""The page of episodes in a real Chromium: a thousand episodes, hostile text, search, deep links, nothing loaded."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sdar_agents.cli import main
from sdar_agents.episode_file import EpisodeWriter
from tests.agents.test_episode_file import HEADER, recorded

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytest.importorskip("selenium", reason="no selenium: python -m pip install selenium")
if not (BROWSER and DRIVER):
    pytest.skip("no headless Chromium: apt-get install chromium chromium-driver", allow_module_level=True)

from selenium import webdriver  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.select import Select  # noqa: E402
from selenium.webdriver.support.wait import WebDriverWait  # noqa: E402

HOSTILE = "</script><b>bold</b><script>document.title='taken'</script><!-- \u2028 & \" '"


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of 1,000 episodes, of which one has hostile text and every third is not solved."""
    folder = tmp_path_factory.mktemp("view")
    header = replace(HEADER, settings={"model": "tiny"})
    writer = EpisodeWriter(folder / "e.jsonl", header)
    for number in range(1000):
        one = recorded(number)
        episode = replace(one.episode, success=number % 3 != 0)
        if number == 7:
            turns = (replace(episode.turns[0], seen=HOSTILE), episode.turns[1])
            episode = replace(episode, task=HOSTILE, turns=turns)
        writer.add(replace(one, episode=episode))
    writer.close()
    main(["view", str(folder / "e.jsonl")])
    return folder / "e.html"


@pytest.fixture
def browser() -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(BROWSER)
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1200,900"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    yield driver
    driver.quit()


def test_a_thousand_episodes_are_searched_filtered_and_opened(view: Path, browser: Any) -> None:
    begin = time.perf_counter()
    browser.get(view.as_uri())
    assert time.perf_counter() - begin < 10
    count = browser.find_element(By.ID, "count")
    assert count.text == "1000 of 1000 episodes"
    assert len(browser.find_elements(By.CSS_SELECTOR, ".row")) < 60
    Select(browser.find_element(By.ID, "success")).select_by_value("0")
    assert count.text == "334 of 1000 episodes"
    browser.find_element(By.ID, "search").send_keys("task-999")
    assert count.text == "1 of 1000 episodes"
    browser.find_element(By.CSS_SELECTOR, ".row").click()
    WebDriverWait(browser, 10).until(lambda driver: "episode=train-3-999" in driver.current_url)
    WebDriverWait(browser, 10).until(lambda driver: len(driver.find_elements(By.CSS_SELECTOR, ".turn")) == 2)
    assert browser.find_element(By.CSS_SELECTOR, ".row").get_attribute("aria-current") == "true"
    assert len(browser.find_elements(By.CSS_SELECTOR, ".turn")) == 2
    # The second turn's first token: student -0.5, teacher -0.25, gate 0.5.
    token = browser.find_elements(By.CSS_SELECTOR, ".turn")[1].find_element(By.CSS_SELECTOR, ".tokens button")
    token.click()
    said = browser.find_elements(By.CSS_SELECTOR, ".values")[1].text
    assert "student -0.500 · teacher -0.250 · gap 0.250 · gate 0.500" in said
    assert [line for line in browser.get_log("browser") if line["level"] == "SEVERE"] == []


def test_text_of_an_environment_stays_text_and_a_link_opens_its_episode(view: Path, browser: Any) -> None:
    browser.get(view.as_uri() + "#episode=train-3-7")
    assert browser.find_element(By.CSS_SELECTOR, "#episode h2").text.startswith("</script><b>bold</b>")
    assert browser.find_elements(By.CSS_SELECTOR, "#episode b b, #episode pre b") == []
    assert browser.title == "Episodes of tiny"
    assert "http" not in view.read_text().replace("http-equiv", "")


def test_the_toggle_changes_the_colours(view: Path, browser: Any) -> None:
    browser.get(view.as_uri())
    colours = []
    for _ in range(2):
        colours.append(browser.execute_script("return getComputedStyle(document.body).backgroundColor"))
        browser.find_element(By.ID, "scheme").click()
    assert colours == ["rgb(255, 255, 255)", "rgb(13, 17, 23)"]
