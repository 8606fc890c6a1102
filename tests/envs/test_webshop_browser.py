"""A person shops in a real Chromium, by clicking and typing, at the server that `sdar-gym play ... --web` starts."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gymnasium as gym
import pytest

from sdar_gym.registration import make, text_env
from tests.conftest import REPOSITORY
from tests.envs.script_shop import IMAGE, SCRIPT, write_script_shop
from tests.signals import take_interrupts

MISSING = (
    "no headless Chromium: apt-get install chromium chromium-driver, and python -m pip install selenium flask waitress"
)
PATIENCE_SECONDS = 20
SEED = 4


def find_browser() -> tuple[str, str] | None:
    """Chromium and its driver, if both are installed."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    return (browser, driver) if browser and driver else None


def is_ci() -> bool:
    return os.environ.get("CI", "").lower() == "true"


try:
    from selenium import webdriver
    from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
    from selenium.webdriver.chrome.service import Service
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.remote.webelement import WebElement
    from selenium.webdriver.support.wait import WebDriverWait

    import sdar_gym.envs.webshop.web  # noqa: F401
except ImportError:
    if is_ci():
        raise
    pytest.skip(MISSING, allow_module_level=True)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shops")


@pytest.fixture(scope="module")
def serve(cache: Path) -> Iterator[Callable[..., str]]:
    """Starts `sdar-gym play ENV --web` in a process of its own; its address. Ctrl-C must end it cleanly."""
    processes: list[subprocess.Popen[str]] = []
    path = os.pathsep.join(str(REPOSITORY / folder) for folder in ("", "skills", "agents"))
    environment = {**os.environ, "PYTHONPATH": path, "SDAR_GYM_CACHE": str(cache)}

    def start(env_id: str, *arguments: str) -> str:
        command = [sys.executable, "-m", "sdar_agents", "play", env_id, "--web", "--port", "0", *arguments]
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=REPOSITORY,
            preexec_fn=take_interrupts,
        )
        processes.append(process)
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:\d+/", line)
        assert found is not None, line + process.stderr.read()
        return found[0]

    yield start
    for process in processes:
        process.send_signal(signal.SIGINT)
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (0, "closed\n", "")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    found = find_browser()
    if found is None:
        if is_ci():
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    options = webdriver.ChromeOptions()
    options.binary_location = found[0]
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server",
                     "--window-size=1280,1000"):  # fmt: skip
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(found[1]))
    yield driver
    driver.quit()


class Person:
    """Someone at a browser, who sees a page and clicks."""

    def __init__(self, chromium: Any, address: str) -> None:
        self.chromium = chromium
        self.address = address
        chromium.get("about:blank")
        chromium.get_log("browser")
        chromium.get(address)
        chromium.delete_all_cookies()
        chromium.get(address)

    def find(self, css: str) -> WebElement:
        return self.chromium.find_element(By.CSS_SELECTOR, css)  # type: ignore[no-any-return]

    def read(self, css: str = "body") -> str:
        return self.find(css).text

    def buttons(self) -> list[str]:
        """What can be clicked in the shop, as it is written on the page."""
        return [one.text for one in self.chromium.find_elements(By.CSS_SELECTOR, "#shop button") if one.text]

    def options(self) -> list[str]:
        return [one.text for one in self.chromium.find_elements(By.CSS_SELECTOR, "#shop input + label")]

    def button(self, text: str) -> WebElement:
        (button,) = [one for one in self.chromium.find_elements(By.CSS_SELECTOR, "button") if one.text == text]
        return button  # type: ignore[no-any-return]

    def arriving(self, act: Callable[[], object]) -> None:
        """Do what leads to another page, and wait for that."""
        old = self.find("html")
        act()
        WebDriverWait(self.chromium, PATIENCE_SECONDS, poll_frequency=0.05).until(lambda _: is_gone(old))
        WebDriverWait(self.chromium, PATIENCE_SECONDS, poll_frequency=0.05).until(
            lambda driver: driver.execute_script("return document.readyState") == "complete"
        )

    def click(self, text: str) -> None:
        self.arriving(self.button(text).click)

    def search(self, words: str) -> None:
        field = self.find("#search_input")
        field.send_keys(words)
        self.arriving(lambda: field.send_keys(Keys.ENTER))

    def choose(self, value: str) -> None:
        """Of options with the same text, the last one is what an action means."""
        labels = [one for one in self.chromium.find_elements(By.CSS_SELECTOR, "#shop label") if one.text == value]
        self.arriving(labels[-1].click)

    def complaints(self) -> list[str]:
        """What the browser's console says since the last time."""
        return [entry["message"] for entry in self.chromium.get_log("browser")]


def is_gone(element: WebElement) -> bool:
    try:
        element.is_enabled()
    except StaleElementReferenceException:
        return True
    except WebDriverException as error:
        # What the driver says where the page changes between its own two looks.
        if "does not belong to the document" not in str(error):
            raise
        return True
    return False


class Pair:
    """A person and an agent who do the same, and must read the same."""

    def __init__(self, person: Person, env: gym.Env[str, str], seed: int) -> None:
        self.person, self.env, self.turns = person, env, 0
        self.observation, self.info = env.reset(seed=seed)
        self.compare()

    def do(self, action: str) -> None:
        name, _, argument = action[:-1].partition("[")
        if name == "search":
            self.person.search(argument)
        elif argument in self.person.options():
            self.person.choose(argument)
        else:
            self.person.click(*[text for text in self.person.buttons() if text.lower() == argument])
        self.observation, _, is_over, _, self.info = self.env.step(action)
        self.turns += 1
        bar = self.person.read(".bar")
        assert f"Turn {self.turns} of 15" in bar
        assert f"{action} understood" in bar
        if not is_over:
            self.compare()

    def compare(self) -> None:
        """The order on the screen can be another, and so can the spaces."""
        page = " ".join(self.person.read("#shop").split())
        for text in self.observation.split(" [SEP] "):
            assert " ".join(text.split()) in page
        assert set(self.info["available_actions"]["clickables"]) == {
            *(text.lower() for text in self.person.buttons()),
            *self.person.options(),
        }

    def oracle(self) -> str:
        return str(text_env(self.env).oracle())


@pytest.fixture(scope="module")
def env(cache: Path) -> gym.Env[str, str]:
    return make("sdar_gym/WebShopMini-v0", cache=cache)


@pytest.fixture(scope="module")
def mini(serve: Callable[..., str]) -> str:
    return serve("sdar_gym/WebShopMini-v0", "--seed", str(SEED))


def test_a_person_shops_from_the_search_to_the_reward(chromium: Any, mini: str, env: gym.Env[str, str]) -> None:
    person = Person(chromium, mini)
    pair = Pair(person, env, SEED)
    for action in ("search[machine washable]", "click[next >]", "click[< prev]", "click[back to search]"):
        pair.do(action)
    chosen = 0
    while (action := pair.oracle()) != "click[buy now]":
        pair.do(action)
        if action[len("click[") : -1] in person.options():
            chosen += 1
            assert len(chromium.find_elements(By.CSS_SELECTOR, "input:checked + label")) == chosen
    assert chosen > 0
    pair.do("click[buy now]")
    assert pair.info["score"] == 1.0
    assert person.read("#reward pre") == "1.0"
    assert "Total reward: 1" in person.read(".outcome")
    assert person.complaints() == []


def test_the_pages_below_a_product_and_back_and_a_purchase_that_is_worth_less(
    chromium: Any, mini: str, env: gym.Env[str, str]
) -> None:
    person = Person(chromium, mini)
    pair = Pair(person, env, SEED)
    pair.do("search[socks]")
    pair.do(f"click[{person.read('.product-link').lower()}]")
    for name in ("description", "features", "reviews"):
        pair.do(f"click[{name}]")
        pair.do("click[< prev]")
    pair.do("click[buy now]")
    assert 0.0 <= pair.info["score"] < 1.0
    assert person.read("#reward pre") == str(pair.info["score"])
    assert person.complaints() == []


def test_a_click_anywhere_on_a_card_opens_the_product(chromium: Any, mini: str) -> None:
    person = Person(chromium, mini)
    person.search("socks")
    asin = person.read(".product-link")
    person.arriving(ActionChains(chromium).move_to_element(person.find(".list-group-item .picture")).click().perform)
    assert f"click[{asin.lower()}]" in person.read(".bar .last")


@pytest.mark.parametrize("pause_seconds", [0.0, 0.03, 0.25])
def test_a_double_click_is_one_action(chromium: Any, mini: str, pause_seconds: float) -> None:
    """Its second click meets the page that is left, or already the next one, with the same button at the same place."""
    person = Person(chromium, mini)
    person.search("socks")
    twice = ActionChains(chromium, duration=0).move_to_element(person.button("Next >")).click()
    person.arriving(twice.pause(pause_seconds).click().perform)
    assert chromium.find_elements(By.CSS_SELECTOR, ".notice") == []
    chromium.get(mini)
    assert "Turn 2 of 15" in person.read(".bar")
    assert person.read("#shop h3").startswith("Page 2 ")
    assert person.complaints() == []


def test_a_page_sends_one_form_however_often_its_buttons_are_pressed(chromium: Any, mini: str) -> None:
    person = Person(chromium, mini)
    person.search("socks")
    let_through = chromium.execute_script(
        "let count = 0;"
        "window.addEventListener('submit', (event) => { count += !event.defaultPrevented; event.preventDefault(); });"
        "for (const button of document.querySelectorAll('.product-link')) button.click();"
        "return count;"
    )
    assert let_through == 1


def test_after_the_browsers_back_the_page_is_where_the_person_is(chromium: Any, mini: str) -> None:
    person = Person(chromium, mini)
    person.search("socks")
    person.click("Next >")
    person.arriving(chromium.back)
    assert "Nothing was done; this is where you are now" in person.read(".notice")
    assert person.read("#shop h3").startswith("Page 2 ")
    assert "Turn 2 of 15" in person.read(".bar")
    person.click("Next >")
    assert person.read("#shop h3").startswith("Page 3 ")
    assert chromium.find_elements(By.CSS_SELECTOR, ".notice") == []


def test_an_old_tab_does_nothing(chromium: Any, mini: str) -> None:
    person = Person(chromium, mini)
    person.search("socks")
    old = chromium.current_window_handle
    chromium.switch_to.new_window("tab")
    chromium.get(mini)
    person.click("Next >")
    chromium.close()
    chromium.switch_to.window(old)
    assert person.read("#shop h3").startswith("Page 1 ")
    person.click("Back to Search")
    assert "Nothing was done" in person.read(".notice")
    assert person.read("#shop h3").startswith("Page 2 ")


def test_options_are_walked_by_arrow_keys_and_chosen_by_enter(chromium: Any, mini: str, env: gym.Env[str, str]) -> None:
    person = Person(chromium, mini)
    pair = Pair(person, env, SEED)
    while len(values := person.options()) < 3:
        pair.do(pair.oracle())
    chromium.execute_script("arguments[0].focus()", person.find("#radio_0_0"))
    ActionChains(chromium).send_keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN).perform()
    assert f"Turn {pair.turns} of 15" in person.read(".bar")
    person.arriving(ActionChains(chromium).send_keys(Keys.ENTER).perform)
    assert f"Turn {pair.turns + 1} of 15" in person.read(".bar")
    assert f"click[{values[2]}]" in person.read(".bar .last")
    assert person.read("input:checked + label") == values[2]


def test_a_new_task_is_a_click_and_another_by_its_id(chromium: Any, mini: str, env: gym.Env[str, str]) -> None:
    person = Person(chromium, mini)
    task = person.read(".bar .task")
    person.click("New task")
    assert person.read(".bar .task") != task
    wanted = text_env(env).task_ids("dev")[2]
    person.find(".bar form summary").click()
    person.find("input[name=task]").send_keys(wanted)
    person.click("Start")
    assert person.read(".bar .task") == f"Task {wanted}"
    person.find(".bar form summary").click()
    person.find("input[name=task]").send_keys("dev/nothing")
    person.click("Start")
    assert "no task 'dev/nothing' in this shop" in person.read(".notice")
    assert person.read(".bar .task") == f"Task {wanted}"
    chromium.get_log("browser")  # the browser notes the 400


def test_the_hint_is_there_for_who_asks(chromium: Any, mini: str, env: gym.Env[str, str]) -> None:
    env.reset(seed=4)
    person = Person(chromium, mini)
    assert "search[" not in person.read(".bar")
    person.find(".hint summary").click()
    assert person.read(".hint code")[:60] == str(text_env(env).oracle())[:60]


def test_hostile_products_are_texts_and_run_nothing(
    chromium: Any, serve: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = write_script_shop(tmp_path_factory.mktemp("data"))
    address = serve("sdar_gym/WebShop-v0", "--data", str(data), "--env-options", "show_attributes=true")
    person = Person(chromium, address)
    person.search("thing")
    assert f"thing 0 {SCRIPT}" in person.read(".products")
    person.click("Next >")
    assert "</textarea></noscript>" in person.read(".products")
    person.click("< Prev")
    person.click("B000000000")
    assert person.read(".about h2") == f"thing 0 {SCRIPT}"
    for name in ("Description", "Features", "Attributes"):
        person.click(name)
        assert SCRIPT in person.read(".card")
        person.click("< Prev")
    person.choose(IMAGE)
    assert person.read("input:checked + label") == IMAGE
    assert f"click[{IMAGE}]" in person.read(".bar .last")
    person.click("Buy Now")
    assert SCRIPT in person.read(".purchased")
    assert chromium.execute_script("return window.ran") is None
    # The pictures of options is at a machine that is not there.
    assert [message for message in person.complaints() if "127.0.0.1:9" not in message] == []


def test_an_injected_script_would_not_run_either(chromium: Any, mini: str) -> None:
    person = Person(chromium, mini)
    chromium.execute_script(
        "const script = document.createElement('script'); script.textContent = 'window.ran = 1';"
        "document.body.append(script);"
        "document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.ran = 2\">');"
    )
    assert chromium.execute_script("return window.ran") is None
    assert any("Content Security Policy" in message for message in person.complaints())


def test_a_form_on_another_page_does_nothing(chromium: Any, mini: str) -> None:
    person = Person(chromium, mini)
    person.search("socks")
    form = f'<form method="post" action="{mini}"><input name="action" value="click[next >]"><button>Go</button></form>'
    chromium.get("data:text/html," + quote(form))
    person.arriving(person.find("button").click)
    assert "403" in person.read("h1")
    assert "sent from another site" in person.read("p")
    person.arriving(lambda: chromium.get(mini))
    assert "Turn 1 of 15" in person.read(".bar")
