"""Names of people and how the speakers may address each other."""

FIRST_NAMES = (
    "Anna", "Ben", "Carla", "David", "Elena", "Frank", "Grace", "Henry", "Ivy", "Jack", "Karen",
    "Leo", "Maria", "Nathan", "Olivia", "Peter", "Quinn", "Rosa", "Sam", "Tina", "Umar", "Vera",
    "Walter", "Yuki", "Zoe", "Amir", "Bella", "Chen", "Daisy", "Eric", "Fiona", "George", "Hannah",
    "Ian", "Julia", "Kevin", "Linda", "Marco", "Nina", "Oscar", "Priya", "Ravi", "Sofia", "Tom",
    "Wendy", "Diego", "Emma", "Felix", "Gloria", "Hugo",
)  # fmt: skip
LAST_NAMES = (
    "Adams", "Baker", "Cruz", "Dunn", "Evans", "Fischer", "Garcia", "Hill", "Ito", "Jensen",
    "Kumar", "Lopez", "Miller", "Novak", "Owens", "Park", "Quist", "Reed", "Silva", "Turner",
    "Ueda", "Vance", "Wood", "Young", "Zhang", "Brooks", "Cooper", "Diaz", "Ellis", "Foster",
    "Grant", "Hayes", "Keller", "Lang", "Moreno", "Nolan", "Parker", "Rossi", "Stone", "Walsh",
)  # fmt: skip
TITLES = ("Mr.", "Ms.")
