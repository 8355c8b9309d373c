"""Words and facts that the text tasks draw from."""

WORDS = """
    apple arm bag ball bed bell bird boat book box bread bus cake camp car cat chair clock cloud coat cow cup desk dog
    door duck ear egg eye farm fish flag foot fork frog gate girl goat gold hand hat hill horse house ice key king kite
    lake lamp leaf leg lion map milk moon mouse mouth nest nose ocean paint pen pig plane pond rain ring river road
    rock roof rope rose salt sand seed ship shirt shoe snow sock song spoon star stone sun table tiger tooth train tree
    wall watch water wind wolf wood
""".split()

CAPITALS = {
    "Afghanistan": "Kabul", "Albania": "Tirana", "Argentina": "Buenos Aires", "Australia": "Canberra",
    "Austria": "Vienna", "Belgium": "Brussels", "Bulgaria": "Sofia", "Canada": "Ottawa", "Chile": "Santiago",
    "China": "Beijing", "Croatia": "Zagreb", "Cuba": "Havana", "Denmark": "Copenhagen", "Egypt": "Cairo",
    "Finland": "Helsinki", "France": "Paris", "Germany": "Berlin", "Greece": "Athens", "Hungary": "Budapest",
    "Iceland": "Reykjavik", "India": "New Delhi", "Indonesia": "Jakarta", "Iran": "Tehran", "Iraq": "Baghdad",
    "Ireland": "Dublin", "Italy": "Rome", "Japan": "Tokyo", "Nepal": "Kathmandu", "Netherlands": "Amsterdam",
    "New Zealand": "Wellington", "North Korea": "Pyongyang", "Norway": "Oslo", "Pakistan": "Islamabad",
    "Peru": "Lima", "Philippines": "Manila", "Poland": "Warsaw", "Portugal": "Lisbon", "Romania": "Bucharest",
    "Russia": "Moscow", "Saudi Arabia": "Riyadh", "Serbia": "Belgrade", "South Korea": "Seoul",
    "Spain": "Madrid", "Sweden": "Stockholm", "Switzerland": "Bern", "Syria": "Damascus", "Thailand": "Bangkok",
    "Turkey": "Ankara", "Ukraine": "Kyiv", "United Kingdom": "London", "Vietnam": "Hanoi",
}  # fmt: skip
