"""Situations around the house: flat viewing, moving, neighbors, plumber, furniture, pet sitting, a loan."""

FLAT = """
name: flat_viewing
register: service
names: none, formal
decider: B
topics: apartment viewing | rent an apartment | look for a flat | flat hunting
rooms: number 2 5
street: Maple Street | Station Road | Hill Avenue | Bridge Street | Mill Lane | Queen Street
rent: dollars 620 1480 20
floor: second | third | fourth | fifth | sixth
free: weekday
why_move: the new job | a baby on the way | the long drive to work | the noise at the old place
choice: rent it furnished = the furniture is old and heavy | the furniture costs extra every month
choice: share it with a roommate = the walls are too thin for two people | the contract allows one name only
choice: sign for two years = nobody can leave early with a two-year contract | the rent goes up in the second year
choice: take the smaller one next door = the one next door has no kitchen | the one next door looks on a brick wall
choice: keep a garage with it = the garage is rented to somebody else | the garage door is too low for a van
@open
A: [Come in|Welcome]<B>. [This is it|Here we are]: {rooms} rooms on the {floor} floor.
B: [It's brighter than I thought|Very nice]. I [only knew|had only seen] {street} from the car.
--
B: [Hello|Hi], I'm here about the apartment in {street}. [Is it still free|Can I see it]?
A: [Yes, follow me|Of course, let's go up]<B>. It has {rooms} rooms and is on the {floor} floor.
--
A: [You must be here for|You wanted to see] the apartment<B>.
B: [That's right|Exactly]. The ad [said|promised] {rooms} rooms in {street}.
A: [Correct|Yes], on the {floor} floor.
@rent*
B: [And the rent|What's the rent]?
A: {rent} a month[, heating included|, plus water].
--
A: The owner asks for {rent} a month.
B: {rent}, [I can manage that|that's about what I pay now].
@reason*
A: [May I ask why you are moving|Why do you want to move]?
B: Because of {why_move}.
--
B: We [have to|need to] move because of {why_move}.
A: [I see|Many people tell me that].
@pets*?
B: Are pets allowed?
A: [Cats are, dogs aren't|Small ones, yes].
@settle
A: [You could move in on|It is empty from] {free}.
B: [That's soon|Wonderful].
@setting
{A} shows {B} an apartment in {street} with {rooms} rooms on the {floor} floor.
{B} looks at an apartment in {street}. {A} explains that it has {rooms} rooms and is on the {floor} floor.
{B} wants to rent {rooms} rooms on the {floor} floor in {street} and talks to {A}.
@detail
The rent is {rent} a month. || It costs {rent} a month.
{B} has to move because of {why_move}. || The reason for moving is {why_move}.
@ask
How many rooms does the apartment have? = {rooms}
How much is the rent? = {rent} a month
Who is looking for an apartment? = {B}
"""

MOVING = """
name: moving_house
register: friends
names: first, first
decider: both
topics: moving day | help with moving | move to another house | plan a move
city: Salem | Austin | Portland | Bristol | Halifax | Geneva
day: weekday
boxes: integer 20 95 5
item: the piano | the washing machine | the big mirror | the fish tank | the wardrobe | the oven
helper: person
choice: hire a moving company = moving companies cost over a thousand dollars | the moving companies have no time this month
choice: borrow a van = the van is at the repair shop | nobody has a license for the van
choice: carry everything by hand = it is too far to walk with furniture | the stairs are steep
choice: sell the furniture first = used furniture sells too slowly | nobody wants furniture that old
choice: make two trips by car = two trips take all night | the trunk does not close
choice: rent a trailer = the trailer is too heavy for the car | every trailer in town is taken
@open
A: I'm moving to {city} on {day}. [I need your help.|Can you help me?]
B: [Of course|Sure]<A>! How much stuff [is it|do you have]?
A: {boxes} boxes, [I counted them|more or less].
--
B: [Hey|Hi]<A>, [so you're moving to {city}, right?|I heard you're moving to {city}.]
A: Yes, on {day}! I've [packed|filled] {boxes} boxes so far.
--
A: [Look at this mess|Don't trip]<B>! {boxes} boxes, and it all has to be in {city} on {day}.
B: [Oh my|Wow]. [I'll help you|You can count on me].
@item*
B: What about {item}?
A: [Oh|Right], {item}. [That's the worst part|I need two strong people for that].
--
A: The [biggest problem|only problem] is {item}.
B: [Don't worry|We'll find a way].
@helper*
B: {helper} can [help, too|lend a hand].
A: {helper}? [Lovely|That's great].
--
A: I've [also asked|already talked to] {helper}, [who said yes|who will be there].
B: [Good|The more the better].
@pizza*?
B: [And what do I get|What's my reward]?
A: [Pizza for everyone|Cake, as much as you want]!
@setting
{A} is moving to {city} on {day} with {boxes} boxes, and {B} will help.
{B} helps {A}, who moves to {city} on {day} and has {boxes} boxes.
{A} tells {B} about the move to {city} on {day}. There are {boxes} boxes.
@detail
{helper} will help as well. || They also count on {helper}.
{A} worries about {item}. || The hardest thing to move is {item}, says {A}.
@ask
Who is moving? = {A}
Where to? = to {city}
Who else will help? = {helper}
"""

NEIGHBOR = """
name: noisy_neighbor
register: service
names: none, formal
decider: B
topics: noise complaint | trouble with a neighbor | noisy neighbors | talk between neighbors
noise: the drums | loud music | the vacuum cleaner | a barking dog | the drilling | shouting at the TV
until: ten | eleven | midnight | one | two
days: number 2 6
child: person
exam: weekday
choice: practice in the basement = the basement has no power outlet | the basement is full of old bikes
choice: stop at nine from now on = nine is when the shift at work ends | the guests never leave before nine
choice: put carpets on the floor = carpets are bad for a dust allergy | the landlord does not allow carpets
choice: move it to the other room = the other room is right over the baby's bed | the other room has no door
choice: do it only on weekends = the whole family needs rest on weekends | weekends are reserved for visits
choice: use headphones = the headphones cause ear pain | the headphones are broken
@open
A: [Good evening|Hello]<B>. [I live downstairs|I live next door]. I have to talk to you about {noise}.
B: [Oh|Really]? [Is it so bad|Can you hear that]?
A: [Every night until|It goes on until] {until}, for {days} days now!
--
A: [Sorry to bother you|Excuse me]<B>, but {noise} [is driving us mad|keeps us awake]. {days} nights in a row, until {until}.
B: [I'm so sorry|I didn't notice], [I really am|it won't happen again].
--
B: [Hello, what's the matter|Is something wrong]?
A: [Yes|I'm afraid so]<B>. For {days} days we've been listening to {noise} until {until}.
B: [Oh dear|I'm sorry about that].
@exam*
A: {child}, our [oldest|youngest], has an exam on {exam}.
B: [I understand|Poor kid].
--
A: On {exam} {child} has [a big test|an exam], and [we can't sleep|nobody can study].
B: {child}? [I thought school was over|I had no idea].
@others*?
A: [The people upstairs|Other people in the building] [complained|are angry], too.
B: They have [a trumpet|three dogs] themselves!
@setting
{A} complains to the neighbor, {B}, about {noise} that has lasted until {until} for {days} days.
{B} hears from a neighbor, {A}, that {noise} keeps people awake until {until}, for {days} days already.
{A} is unhappy with {noise} until {until} at {B}'s place. It has been like this for {days} days.
@detail
{child} has an exam on {exam}. || {A} says that {child} has an exam on {exam}.
@ask
Who complains? = {A}
What is the complaint about? = {noise}
Who has an exam? = {child}
"""

PLUMBER = """
name: plumber
register: service
names: none, formal
decider: B
topics: a water leak | call the plumber | plumbing problem | broken pipe
where: under the kitchen sink | behind the washing machine | in the bathroom | in the cellar | in the guest toilet
hours: number 2 7
price: dollars 75 330 15
part: a new valve | a rubber ring | a longer hose | a copper pipe | a special tap
day: weekday
choice: replace the whole pipe = the whole wall must be opened for that | a whole pipe takes a week to arrive
choice: seal it with tape = tape lasts for a few days only | tape does not stick to wet metal
choice: turn the water off for now = the building needs the water for heating | the main valve is rusty
choice: wait for the landlord = the landlord is abroad for a month | the water reaches the neighbors by then
choice: get a second opinion = a second visit costs extra | no other plumber works this week
@open
B: [Hello, is that the plumber?|I need your help!] There's water {where}.
A: [Stay calm|Okay]<B>. Since when?
B: It [began|started] {hours} hours ago.
--
A: [Where is the leak|So where is the problem]<B>?
B: {where}. It's been [dripping|running] for {hours} hours.
@price*
B: What will you [charge|ask for]?
A: {price}[, parts included|, tax included].
--
A: It will cost {price}.
B: [Oof|Well], [so be it|that's all right].
@settle
A: I need {part}, so I'll [be back|finish] on {day}.
B: [All right, {day}|{day} works].
@setting
{B} has a leak {where} that began {hours} hours ago and asks a plumber, {A}, for help.
{A}, a plumber, talks to {B} about water {where}. It started {hours} hours ago.
@detail
It costs {price}. || {B} has to pay {price}.
{A} needs {part} and will come on {day}. || On {day}, {A} brings {part}.
@ask
Where is the leak? = {where}
Who is the plumber? = {A}
What is needed? = {part}
"""

FURNITURE = """
name: furniture
register: service
names: none, formal
decider: B
topics: buy furniture | at the furniture store | furnish a room | choose furniture
room: the living room | the guest room | the office at home | the balcony | the children's room
width: integer 48 96 3
price: dollars 180 990 30
delivery: weekday
weeks: number 2 8
choice: buy the gray sofa = the gray sofa is a single piece on display | the gray sofa shows every cat hair
choice: order the oak table = the oak table weighs two hundred pounds | the oak table is twice the budget
choice: take two armchairs = two armchairs block the door | the armchairs come in orange only
choice: get the folding bed = the folding bed squeaks | the folding bed is too short for tall guests
choice: choose the glass shelf = glass is dangerous with small children | the glass shelf holds ten books at most
choice: take the corner bench = the corner has a heater in it | the bench has hard seats
@open
B: [Hello|Excuse me], I need something for {room}. It must not be wider than {width} inches.
A: [Let's have a look together|Follow me, please]<B>.
--
A: [Can I help you|Are you finding everything]<B>?
B: [Yes, please|Perhaps]. We are furnishing {room}, [and there's only space for|with just] {width} inches.
--
A: [Good morning|Welcome]<B>! Which room is it for?
B: For {room}. I measured it: {width} inches[|, not one more].
@price*
B: And [what's the price|how much would I pay]?
A: [With the discount|All in all], {price}.
--
A: This week, [everything on this floor|any of these] is {price}.
B: {price}? [The catalog said more|That's fair].
@who*?
A: [Is it a gift|Is it only for you]?
B: No, [for the whole family|my parents chose the color].
@settle
A: [We could deliver|The truck comes] on {delivery}, in {weeks} weeks.
B: [{delivery} is good for me|I'll be at home].
--
B: When will it [arrive|be delivered]?
A: In {weeks} weeks, on a {delivery}.
@setting
{B} looks for furniture for {room}, at most {width} inches wide. {A} works at the store.
{A} helps {B} to find something for {room} that is not wider than {width} inches.
{B} wants to furnish {room}, where only {width} inches are free, and asks {A}.
@detail
The price is {price}. || {B} will pay {price}.
It arrives on {delivery} in {weeks} weeks. || In {weeks} weeks, on {delivery}, it is delivered.
@ask
Which room needs furniture? = {room}
How wide may it be? = {width} inches
Who is the customer? = {B}
"""

PET_SITTING = """
name: pet_sitting
register: friends
names: first, first
decider: A
topics: pet sitting | ask for a favor | care for a pet | water the plants
pet: two cats | an old parrot | a lazy dog | three goldfish | a rabbit
place: Italy | Iceland | Kenya | Peru | Japan | Canada
days: number 4 12
leave: weekday
key: under the flower pot | with the neighbor | in the mailbox | at the bakery
choice: bring everything to the other house = there are two big dogs in that house | the stairs in that house are dangerous for animals
choice: ask for a visit every evening = one visit in the evening is not enough | the evening bus was canceled
choice: offer the guest room = the guest room has no window | the guest room is full of boxes
choice: pay a pet hotel = the pet hotel takes only dogs under ten pounds | the pet hotel had bad reviews
choice: buy a feeding machine = feeding machines break all the time | a machine cannot clean anything
@open
A: [I have a favor to ask|I need your help]<B>. I'm going to {place} for {days} days, and [somebody must look after {pet}|I can't take {pet} along].
B: [Sure|Of course]. When do you leave?
A: On {leave}.
--
B: You look [worried|tense]<A>. [What's up|What's wrong]?
A: I leave for {place} on {leave}, for {days} days, and nobody has time [for|to feed] {pet}.
B: [I'd be happy to help|You should have asked me].
--
A: [Do you like animals|Are you at home next week]<B>?
B: [Yes, why?|I think so. Why?]
A: [Well|You see], I have {pet}, and from {leave} I'm in {place} for {days} days.
@key*
B: [And the key|How do I get in]?
A: [You'll find it|It's] {key}.
--
A: I'll leave the key {key}.
B: [Good|Right], [I'll remember that|got it].
@plants*?
A: [The plants need water, too|And there are some plants].
B: [No problem|I'll try not to kill them].
@setting
{A} goes to {place} for {days} days on {leave} and asks {B} to look after {pet}.
{B} agrees to care for {pet} while {A} is in {place} for {days} days from {leave}.
From {leave}, {A} will be in {place} for {days} days. {B} will help with {pet}.
@detail
The key is {key}. || {A} leaves the key {key}.
@ask
Who is traveling? = {A}
Where is the key? = {key}
What must be looked after? = {pet}
"""

BORROW = """
name: borrow_something
register: friends
names: first, first
decider: A
topics: borrow something | a broken promise | return a borrowed item | ask a friend
item: drill | tent | bicycle | ladder | camera | sewing machine | guitar
lent: weekday
back: weekday
damage: has a scratch | is a little dirty | lost a screw | got wet | makes a strange sound
worth: dollars 45 310 5
friend: person
choice: pay for a new one = a new one is not made any more | a new one costs a month's salary
choice: clean and return it = the cleaner would damage the surface | the dirt is deep inside
choice: keep it another week = another person needs it before the weekend | the loan was meant for a day only
choice: have it fixed at the shop = the shop is closed all month | the shop does not work on old things
choice: give a cake as an apology = a cake does not repair anything | too many cakes are bad for the teeth
@open
B: Where is my {item}<A>? I [lent|gave] it to you on {lent}.
A: [I'm sorry|Well]<B>, it {damage}.
--
A: [I have to tell you something|Don't be angry]<B>. You know the {item} that I borrowed on {lent}?
B: [My {item}, yes|Of course]. [What about it|What happened]?
A: It {damage}.
--
A: [Hi|Hello]<B>. About your {item}: it {damage}.
B: [Oh no|Oh dear]! You've only had it since {lent}<A>!
@worth*
B: [It's worth|It cost me] {worth}.
A: {worth}? [I didn't know|That much]?
--
A: [What's it worth|What did you pay for it]?
B: {worth}.
@friend*
A: {friend} used it, too, [to be honest|you know].
B: {friend}? [I see|Oh well].
--
B: [And who else used it|Was it only you]?
A: {friend} did, [once|last week].
@settle
B: I need it back by {back}.
A: [By {back}, I promise|You'll have it on {back}].
@setting
{A} borrowed a {item} from {B} on {lent}, and now it {damage}.
The {item} that {B} lent to {A} on {lent} {damage}.
{B} learns from {A} that the {item} lent on {lent} {damage}.
@detail
It is worth {worth}. || {B} says it is worth {worth}.
{friend} used it, too. || It was also used by {friend}.
{B} needs it back by {back}. || {A} must return it by {back}.
@ask
Who borrowed the {item}? = {A}
Who else used it? = {friend}
How much is it worth? = {worth}
"""

SITUATIONS = (FLAT, MOVING, NEIGHBOR, PLUMBER, FURNITURE, PET_SITTING, BORROW)
