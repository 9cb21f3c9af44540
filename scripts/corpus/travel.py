"""Situations on the way: hotel, airport, rental car, station, campsite, lost property, taxi."""

HOTEL = """
name: hotel
register: service
names: none, formal
decider: B
topics: hotel booking | book a room | hotel reservation | choose a hotel room
nights: number 2 8
day: weekday
price: dollars 65 240 5
guests: number 2 5
choice: take the room with a sea view = the sea side is noisy at night | the sea view costs double on weekends
choice: take the room on the ground floor = the ground floor is damp | people look in through the windows there
choice: stay in the garden house = the garden house has no heating | a wedding takes place in the garden
choice: book the family suite = the suite is being renovated | the suite has only a shower and no bath
choice: take the attic room = the elevator does not go up to the attic | the attic gets very hot
@open
A: [Good evening|Hello], [the Harbor Inn|the Park Hotel|the Old Mill Hotel]. [How can I help you|What can I do for you]<B>?
B: [I'd like to book|I need] a room for {guests} people[, please|]. We'd come on {day} and stay {nights} nights.
--
B: [Hello|Good morning], do you have [anything free|a free room] from {day}? There are {guests} of us.
A: [Let me check|One moment]<B>. For how many nights?
B: {nights}[, please|].
--
B: [I'm calling about a room|I'm planning a short trip]. We are {guests} people[, and we arrive|, arriving] on {day}.
A: [And how long will you stay|How many nights would you like]<B>?
B: {nights} nights.
@price*
B: [What does it cost|How much is it] per night?
A: {price}, [breakfast included|with breakfast|tax included].
--
A: [All our rooms are|The price is] {price} a night.
B: [Fine|Okay]. [Last year we paid much more|The place across the street is more expensive].
@parking*?
B: [Is there a parking lot|Can we park at the hotel]?
A: [Yes, right behind the building|Yes, and it's free].
--
A: [Will you need a cot|Do you bring any pets]?
B: No, [nothing like that|thank you].
@setting
{B} books a hotel room with {A} for {guests} people and {nights} nights from {day}.
{B} asks {A} for a room at a hotel. {guests} people arrive on {day} and stay {nights} nights.
{A} helps {B} to reserve a room for {nights} nights from {day}, for {guests} guests.
@detail
It costs {price} a night. || The price is {price} per night.
@ask
How many nights will the guests stay? = {nights}
Who books a room? = {B}
How much is a night? = {price}
"""

LUGGAGE = """
name: lost_luggage
register: service
names: none, formal
decider: B
topics: lost luggage | a missing suitcase | baggage problem | at the airport
bag: a red suitcase | a black travel bag | a blue backpack | a brown leather case | a silver suitcase | a guitar case
origin: Lisbon | Chicago | Oslo | Madrid | Toronto | Cairo | Dublin
inside: a wedding dress | a laptop | presents for the children | all the medicine | a camera | the papers for a talk
flight: integer 112 980 7
day: weekday
choice: wait at the airport = the airport closes at night | the next plane comes only tomorrow
choice: have it sent to the hotel = the driver does not go to that part of town | the hotel has nobody at the desk
choice: pick it up later = the storage room costs thirty dollars a day | the pick-up desk moves to another terminal
choice: take the money for a new one = the money comes only after three months | the airline pays just half the value
choice: let a colleague collect it = only the owner may collect it | the colleague is on vacation
@open
B: [Excuse me|Hello], [my luggage didn't arrive|my luggage is missing]. It's {bag}.
A: [I'm sorry to hear that|Oh dear]<B>. Which flight were you on?
B: Flight {flight} from {origin}.
--
A: [Baggage service, good evening|Hello]. [What can I do for you|How can I help]<B>?
B: I [came from|flew in from] {origin} on flight {flight}, and [I can't find|I've lost] {bag}.
--
B: [I've been waiting for an hour|Everyone has left already], and {bag} [is still not here|never came]!
A: [Please stay calm|I understand]<B>. [I need|Tell me] your flight number, please.
B: {flight}, from {origin}.
@inside*
A: [Is there anything valuable in it|What was in it]?
B: [Yes,|Among other things,] {inside}.
--
B: [Please find it|It's important], there is {inside} in it.
A: [I'll make a note of that|We'll do our best].
@form*?
A: [Please fill in this form|Sign here, please].
B: [Do you have a pen?|Here you are.]
--
B: [The man next to me lost a stroller|A lady over there lost two boxes].
A: [Yes|I know], [it's one of those days|we're looking for that, too].
@settle
A: [We should have it|It will be found] by {day}.
B: By {day}? [I hope so|All right].
--
B: [How long will it take|When will it be here]?
A: [By|Before] {day}, [usually|I promise].
@setting
{B} has lost {bag} on flight {flight} from {origin} and reports it to {A}.
{B} tells {A} that {bag} did not arrive with flight {flight} from {origin}.
After flight {flight} from {origin}, {B} misses {bag} and asks {A} for help.
@detail
There is {inside} in it. || Inside is {inside}.
It should be there by {day}. || {A} expects it by {day}.
@ask
What is missing? = {bag}
Where does the flight come from? = {origin}
Who has lost something? = {B}
"""

FLIGHT = """
name: flight_change
register: service
names: none, formal
decider: B
topics: change a flight | flight booking | travel plans | a plane ticket
city: Rome | Boston | Berlin | Sydney | Vienna | Denver | Athens
reason: a meeting was moved | the baby is sick | the visa came late | a friend gets married | the exam has a new date
fee: dollars 25 190 5
old: weekday
new: weekday
choice: sit by the window = the window seats are all in the last row | the window is scratched and dirty
choice: upgrade to business class = business class is overbooked | the upgrade costs nine hundred dollars
choice: fly with a stop in Zurich = the stop takes eleven hours | the airport in Zurich is on strike
choice: take the night flight = the night flight has no meals | the night flight lands when no trains run
choice: go by train = the train journey takes two days | a bridge on the train line is closed
@open
B: [Hello|Hi], I have a ticket to {city} for {old}, [and I need to change it|but I can't go then].
A: [May I ask why|What happened]<B>?
B: [Well|You see], {reason}. I'd have to go on {new}.
--
A: [Blue Sky Airlines|Global Airways], [good morning|hello]. [How can I help|What can I do for you]<B>?
B: I want to [move|change] my flight to {city} from {old} to {new}, because {reason}.
--
B: [Can you help me with my ticket?|I have a question about my ticket.] It's for {city}, on {old}.
A: [Certainly|Sure]<B>. [Which day would you like|What is the new date]?
B: {new}, please. {reason}.
@fee*
A: [There is a fee of|The change costs] {fee}.
B: {fee}? [All right|I see].
--
B: Do I [have to pay|pay] anything for the change?
A: Yes, {fee}[, I'm afraid|].
@bags*?
A: How many bags do you have?
B: [Just a small one|Only one].
--
B: [By the way, is there a meal on board|Do I get a meal]?
A: Yes, [pasta or chicken|a warm one].
@setting
{B} asks {A} to change a flight to {city} from {old} to {new} because {reason}.
{B} cannot fly to {city} on {old}, as {reason}, and {A} moves the ticket to {new}.
{A} rebooks the ticket of {B} to {city} from {old} to {new}, since {reason}.
@detail
The change costs {fee}. || {B} pays a fee of {fee}.
@ask
Where does the customer fly? = to {city}
On which day is the new flight? = on {new}
Why is the flight changed? = because {reason}
"""

RENTAL = """
name: car_rental
register: service
names: none, formal
decider: B
topics: rent a car | car rental | hire a vehicle | a rental car
place: the mountains | the coast | the wine country | the national park | the lake district | a wedding in the country
days: number 2 9
price: dollars 29 95 2
back: weekday
choice: take the small car = the small car has room for two bags only | the small car has a broken radio
choice: rent the minivan = the minivan needs a lot of gas | the minivan is too wide for the narrow roads
choice: drive the electric car = there are no charging stations on the way | the battery lasts for sixty miles only
choice: take the convertible = heavy rain is expected all week | the roof of the convertible leaks
choice: rent the truck = the truck needs a special license | the truck smells of fish
@open
B: [Good morning|Hello], I need a car for {days} days. We're going to {place}.
A: [With pleasure|No problem]<B>. [May I see your license|Do you have your license with you]?
B: [Here it is|Of course].
--
A: [City Cars|Happy Wheels Rental], [what can I do for you|how can I help]<B>?
B: [I'd like to rent|I want to rent] something to drive to {place}. For {days} days, [I think|please].
--
A: [Next, please|You're next]. Where [are you going|will the trip go]<B>?
B: To {place}. I need a car for {days} days.
@price*
B: What [is the price|do you charge] per day?
A: {price}[, with insurance|, without gas].
--
A: [It's|We ask for] {price} a day.
B: [Good|Fine]. [Your competitor asks for more|That's cheaper than I thought].
@miles*?
B: Are the miles limited?
A: No, [drive as far as you like|not at all].
@settle
A: [Please bring it back|It must be back] by {back}.
B: {back}, [understood|okay].
--
B: When [do I have to return it|must it be back]?
A: On {back}, before [noon|we close].
@setting
{B} rents a car from {A} for {days} days for a trip to {place}.
{B} wants to go to {place} and needs a car for {days} days. {A} offers several.
{A} rents a vehicle to {B}, who travels to {place} for {days} days.
@detail
It costs {price} a day. || The daily price is {price}.
{B} has to return it by {back}. || It must be back on {back}.
@ask
Where is the trip going? = to {place}
For how many days is the car rented? = {days}
Who rents a car? = {B}
"""

STATION = """
name: train_station
register: service
names: none, none
decider: B
topics: buy a train ticket | at the station | train travel | a train journey
city: Milton | Springfield | Oakville | Port Henry | Lakeside | Newbridge
tickets: number 2 6
time: clock
track: number 2 12
price: dollars 14 88 2
choice: take the express = the express has no free seats | the express does not stop at the small stations
choice: buy a day pass = the day pass is not valid before nine | the day pass does not include the bus
choice: travel in first class = first class is closed on this train | first class costs three times as much
choice: go by bus = the bus gets stuck in traffic | the bus driver is on strike
choice: take the slow train = the slow train stops fourteen times | the slow train has no restroom
@open
B: {tickets} tickets to {city}, please.
A: [For today|Today]?
B: Yes, [as soon as possible|the next one].
A: The next [one|train] leaves at {time} from track {track}.
--
B: [Hi|Excuse me], when is the next train to {city}? There are {tickets} of us.
A: At {time}, from track {track}.
--
A: [Where to|Where would you like to go]?
B: To {city}. I need {tickets} tickets. [When do we leave|When is the next train]?
A: [There's one at|The train goes at] {time}, track {track}.
@price*
B: How much is [it|that]?
A: {price} [for everybody|in total].
--
A: [That makes|That will be] {price}.
B: [Do you take cards?|Here's a hundred.]
@luggage*?
B: [Can we take bicycles|Is there room for a stroller]?
A: [Yes, in the last car|Of course].
--
B: [Yesterday I waited half an hour|Last week my train was canceled].
A: [I'm sorry about that|There was a problem with the signals].
@setting
{B} buys {tickets} tickets to {city} from {A}. The train leaves at {time} from track {track}.
{A} sells {B} {tickets} train tickets to {city}. It leaves from track {track} at {time}.
At the station, {B} wants {tickets} tickets to {city}. {A} says the train goes at {time} from track {track}.
@detail
{B} pays {price}. || It costs {price} in total.
@ask
From which track does the train leave? = track {track}
When does the train leave? = at {time}
Who wants tickets? = {B}
"""

CAMPSITE = """
name: campsite
register: service
names: none, first
decider: B
topics: camping trip | at the campsite | find a camping place | book a campsite
people: number 2 8
nights: number 3 9
fee: dollars 12 48 3
gate: nine | ten | eleven | midnight
choice: camp by the river = the river may flood this week | there are too many mosquitoes at the river
choice: rent a cabin = the cabins have no electricity | all the cabins smell of smoke
choice: put the tent under the trees = branches fall down in the wind | the ground under the trees is wet
choice: stay near the entrance = cars pass the entrance all night | the lamps at the entrance are very bright
choice: sleep in the van = vans have to park outside | it gets too cold in a van
@open
B: [Hello|Hi], [do you still have room|is there any space left]? We are {people} people and want to stay {nights} nights.
A: [You're lucky, yes|Yes, there is]<B>.
--
A: [Welcome to Pine Valley|Welcome to Green Hill]<B>! How many are you?
B: {people}. And we'd like to stay {nights} nights.
@fee*
A: [Each of you pays|It's] {fee} a night.
B: [Showers included|With hot water]? [Great|Fine].
--
B: What does a night cost?
A: {fee}.
@fire*?
B: [May we make a fire|Can we light a fire]?
A: [Only at the fire pit|Not in this dry weather, sorry].
@settle
A: [The gate closes|We lock the gate] at {gate}.
B: [Good to know|At {gate}, okay].
@setting
{B} asks {A} for a place at a campsite for {people} people and {nights} nights.
{people} people led by {B} want to camp for {nights} nights. {A} works at the campsite.
@detail
A night costs {fee}. || The fee is {fee} a night.
The gate closes at {gate}. || {A} locks the gate at {gate}.
@ask
How many nights will they camp? = {nights}
Who works at the campsite? = {A}
How much is a night? = {fee}
"""

SITUATIONS = (HOTEL, LUGGAGE, FLIGHT, RENTAL, STATION, CAMPSITE)
