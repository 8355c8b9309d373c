"""Words and facts that the text tasks draw from."""

# fmt: off
WORDS = [
    "air", "apple", "arm", "baby", "bag", "ball", "bank", "beach", "bed", "bell", "bird", "blue", "boat", "book",
    "bowl", "box", "boy", "brain", "bread", "bridge", "brush", "bus", "cake", "camp", "candy", "car", "card", "cat",
    "cave", "chair", "cheese", "city", "class", "clock", "cloud", "coat", "corn", "cow", "crown", "cup", "dance",
    "day", "desk", "dog", "door", "dream", "dress", "drum", "duck", "ear", "earth", "egg", "eye", "face", "farm",
    "fire", "fish", "flag", "floor", "flower", "food", "foot", "fork", "frog", "fruit", "garden", "gate", "girl",
    "glass", "goat", "gold", "grass", "green", "hair", "hand", "hat", "heart", "hill", "home", "honey", "horse",
    "house", "ice", "island", "juice", "key", "king", "kitchen", "kite", "knife", "lake", "lamp", "leaf", "leg",
    "letter", "light", "lion", "lunch", "map", "market", "milk", "money", "month", "moon", "morning", "mountain",
    "mouse", "mouth", "music", "nest", "night", "nose", "ocean", "orange", "paint", "paper", "park", "party",
    "peach", "pen", "person", "pig", "pilot", "plane", "plant", "plate", "pond", "pool", "queen", "rabbit", "rain",
    "red", "ring", "river", "road", "rock", "roof", "room", "rope", "rose", "salt", "sand", "school", "seed",
    "ship", "shirt", "shoe", "shop", "silver", "sky", "sleep", "smile", "smoke", "snow", "sock", "song", "soup",
    "spoon", "spring", "square", "star", "stone", "street", "sugar", "summer", "sun", "sweet", "table", "team",
    "tiger", "time", "tooth", "tower", "town", "toy", "train", "tree", "truck", "village", "voice", "wall", "watch",
    "water", "week", "wheel", "white", "wind", "window", "winter", "wolf", "wood", "world", "yard", "year",
]

CAPITALS = {
    "Afghanistan": "Kabul", "Albania": "Tirana", "Algeria": "Algiers", "Argentina": "Buenos Aires",
    "Australia": "Canberra", "Austria": "Vienna", "Belgium": "Brussels", "Brazil": "Brasília", "Bulgaria": "Sofia",
    "Canada": "Ottawa", "Chile": "Santiago", "China": "Beijing", "Colombia": "Bogotá", "Croatia": "Zagreb",
    "Cuba": "Havana", "Cyprus": "Nicosia", "Denmark": "Copenhagen", "Egypt": "Cairo", "Finland": "Helsinki",
    "France": "Paris", "Germany": "Berlin", "Greece": "Athens", "Hungary": "Budapest", "Iceland": "Reykjavik",
    "India": "New Delhi", "Indonesia": "Jakarta", "Iran": "Tehran", "Iraq": "Baghdad", "Ireland": "Dublin",
    "Italy": "Rome", "Jamaica": "Kingston", "Japan": "Tokyo", "Kenya": "Nairobi", "Latvia": "Riga",
    "Lebanon": "Beirut", "Libya": "Tripoli", "Lithuania": "Vilnius", "Malaysia": "Kuala Lumpur",
    "Mexico": "Mexico City", "Morocco": "Rabat", "Nepal": "Kathmandu", "Netherlands": "Amsterdam",
    "New Zealand": "Wellington", "Nigeria": "Abuja", "North Korea": "Pyongyang", "Norway": "Oslo",
    "Pakistan": "Islamabad", "Peru": "Lima", "Philippines": "Manila", "Poland": "Warsaw", "Portugal": "Lisbon",
    "Qatar": "Doha", "Romania": "Bucharest", "Russia": "Moscow", "Saudi Arabia": "Riyadh", "Serbia": "Belgrade",
    "South Korea": "Seoul", "Spain": "Madrid", "Sudan": "Khartoum", "Sweden": "Stockholm", "Switzerland": "Bern",
    "Syria": "Damascus", "Thailand": "Bangkok", "Tunisia": "Tunis", "Turkey": "Ankara", "Ukraine": "Kyiv",
    "United Kingdom": "London", "Uruguay": "Montevideo", "Venezuela": "Caracas", "Vietnam": "Hanoi",
}
# fmt: on
